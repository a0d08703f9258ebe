"""The window of ``gencomm ui``: one picture, sent again whenever a slider moves. Gradio is imported by :mod:`.window` alone."""
