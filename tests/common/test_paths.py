"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from steereval.common.paths import check_path


def test_the_remedy_for_a_relative_path_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in check_path("data/contrast.jsonl")
    assert str(tmp_path) not in check_path("/data/contrast.jsonl")
