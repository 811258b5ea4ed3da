"""Runs on a cluster: package snapshot and job submission."""
