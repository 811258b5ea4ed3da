"""Data from packages, files and the hub."""
