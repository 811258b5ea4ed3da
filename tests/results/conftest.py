"""Fixtures of fake runs; `tests/support/fake_run.py` makes them."""

from __future__ import annotations

import pytest
from fake_run import planted, write_run

from steereval.results.store.run_folder import RunFolder


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One method that helps, one that does nothing and one that harms, with a capability task."""
    return write_run(planted(), tmp_path_factory.mktemp("planted") / "run")
