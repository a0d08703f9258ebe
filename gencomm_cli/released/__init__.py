"""What the authors of the methods released, as presets of this project: one file a kind of checkpoint."""
