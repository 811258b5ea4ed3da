"""Contrast data, logistic regression and training of small networks."""
