"""Contrast sets: what steerers are fitted to."""
