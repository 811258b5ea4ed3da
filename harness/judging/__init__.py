"""Judges read stored answers in the second phase of a run."""
