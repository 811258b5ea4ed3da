"""Tasks: cards, look-up by name, loading."""
