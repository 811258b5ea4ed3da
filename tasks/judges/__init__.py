"""Judges: what each is given of an answer, and what its numbers are as metrics."""
