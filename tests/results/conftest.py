"""Fixtures of fake runs; `fake_run` beside this file makes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from steereval.results.store import RunFolder

sys.path.insert(0, str(Path(__file__).parent))

from fake_run import planted, write_run


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One method that helps, one that does nothing and one that harms, with a capability task."""
    return write_run(planted(), tmp_path_factory.mktemp("planted") / "run")
