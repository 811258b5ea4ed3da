"""A run that is killed again and again ends with the rows of one left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from steereval.results.store.run_folder import RunFolder

KILLS = 5
SLOW_WRITES = """
import os, time
replace = os.replace
def slow(source, target, **kwargs):
    if str(target).endswith((".parquet", ".json")) and "cells" in str(target):
        time.sleep(0.25)
    replace(source, target, **kwargs)
os.replace = slow
"""
"""Put before the program in Python's path: a write takes long enough to be hit."""


@pytest.fixture
def grid(tmp_path: Path, tiny_folder: str) -> Path:
    path = tmp_path / "grid.yaml"
    data = {
        "name": "killed",
        "models": [{"name": tiny_folder, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": [
            "none",
            {"name": "caa", "strengths": [1, 2, 4]},
            {"name": "odesteer", "strengths": [1, 2]},
        ],
        "tasks": [{"name": "truthful_mini_mc", "limit": 6}],
        "seeds": {"fit": [0, 1, 2]},
        "select": {"on": "validation"},
    }
    path.write_text(yaml.safe_dump(data))
    return path


def start(grid: Path, out: Path, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "steereval", "run", str(grid), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--no-report"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def begun(out: Path) -> int:
    return len(list((out / "cells").glob("*.json")))


def wait_for(process: subprocess.Popen[bytes], condition: object, seconds: float = 120) -> bool:
    """Until `found()` is true; False if the process ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("the run neither went on nor ended")


def rows(out: Path) -> list[dict[str, object]]:
    table: pa.Table = RunFolder(out).read_items()
    order = [(name, "ascending") for name in ("cell_id", "item_id", "metric")]
    items: list[dict[str, object]] = table.sort_by(order).to_pylist()
    return items


@pytest.mark.chaos
def test_killed_five_times_and_started_again(grid: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_WRITES)
    out, quiet = tmp_path / "killed", tmp_path / "quiet"
    chance = random.Random(7)
    hits = 0
    for number in range(KILLS):
        before = begun(out)
        process = start(grid, out, slow)
        assert wait_for(process, lambda before=before: begun(out) > before), "it ended by itself"
        if number % 2 == 0:
            wait_for(process, lambda: any((out / "cells").glob(".tmp-*")))
            kill(process)
            hits += any((out / "cells").glob(".tmp-*"))
        else:
            time.sleep(chance.uniform(0, 0.5))
            kill(process)
    assert hits >= 1, "no kill fell while a cell was being written"
    assert start(grid, out, tmp_path).wait(timeout=180) == 0
    assert start(grid, quiet, tmp_path).wait(timeout=180) == 0
    assert len(RunFolder(out).finished()) == 16
    assert rows(out) == rows(quiet)
    assert not list(out.rglob(".tmp-*"))
