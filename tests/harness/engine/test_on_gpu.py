"""A grid on a GPU gives the rows that it gives on a CPU, by one worker and by two on one GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_grid import same_tables, small_grid

from steereval.harness.config.grid import parse_grid
from steereval.harness.run.driver import run_grid
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def run(model: str, out: Path, **changes: object) -> Path:
    grid = parse_grid(small_grid(model, **changes))
    assert run_grid(grid, out, None, lambda line: None).failed == ()
    return out


def values(out: Path) -> dict[tuple[str, str, str], float]:
    rows = RunFolder(out).read_items().to_pylist()
    return {(r["cell_id"], r["metric"], r["item_id"]): r["value"] for r in rows}


def texts(out: Path) -> dict[tuple[str, str, int], str]:
    rows = RunFolder(out).read_responses().to_pylist()
    return {(r["cell_id"], r["item_id"], r["request"]): r["continuation"] for r in rows}


def test_rows_are_those_of_a_cpu(tiny_folder: str, tmp_path: Path) -> None:
    """At strengths at which a flow does not run round the sphere, where rounding would grow."""
    methods = [
        "none",
        *({"name": name, "strengths": [0.1], "unit": "relative"} for name in ("caa", "odesteer")),
    ]
    there = run(tiny_folder, tmp_path / "gpu", methods=methods, run={"device": "cuda"})
    here = run(tiny_folder, tmp_path / "cpu", methods=methods, run={"device": "cpu"})
    result, wanted = values(there), values(here)
    assert result.keys() == wanted.keys()
    for key, value in wanted.items():
        assert result[key] == pytest.approx(value, abs=1e-3), key
    assert texts(there) == texts(here)


def test_two_workers_share_a_gpu(tiny_folder: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    models = [{"name": tiny_folder, "layers": [0, 1], "gpus": 0.5}]
    alone = run(tiny_folder, tmp_path / "one", run={"device": "cuda", "workers": 1})
    shared = run(tiny_folder, tmp_path / "two", models=models, run={"device": "cuda", "workers": 2})
    same_tables(alone, shared)
