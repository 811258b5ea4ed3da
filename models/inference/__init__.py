"""Shared-prefix inference: prefix tree, passes, likelihoods, generation, extraction."""
