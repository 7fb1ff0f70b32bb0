"""Training by a script of the user's own: its process, its output, its weights."""
