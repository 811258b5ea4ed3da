"""The run folder: tables, manifest, records, storage."""

from __future__ import annotations

from steereval.results.store.run_folder import RunFolder

__all__ = ["RunFolder"]
