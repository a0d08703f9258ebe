"""What the authors of the methods released, as presets of this project; a method's folder converts its own kinds of checkpoint."""
