"""Cost and time of a grid before it runs."""
