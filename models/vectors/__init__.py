"""Steering directions from elsewhere, and exports to the same formats: one small file a format."""
