"""Helpers that every package may import: errors, paths, atomic files, text."""
