"""Scorers of generated text; each says what its number is and is not."""
