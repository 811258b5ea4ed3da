"""The steered model that lm-eval loads, and what it needs to answer requests."""
