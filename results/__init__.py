"""The measured side of the program: schema, store, statistics and report.

This folder never sees torch, lm_eval or ray, so a laptop without a GPU stack can read a run.
"""
