"""Checking a finished run: files, ids, versions, and the statistics computed once more."""

from __future__ import annotations

from steereval.results.verification.finding import Finding
from steereval.results.verification.whole import verify_tables

__all__ = ["Finding", "verify_tables"]
