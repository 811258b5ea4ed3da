"""A sweep over layers, from the grid file to the leaderboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from steereval.harness.config.grid import parse_grid
from steereval.harness.run.driver import run_grid
from steereval.results.analysis.run_analysis import analyse
from steereval.results.store.run_folder import RunFolder

LAYERS, STRENGTHS, SEEDS = [0, 1, 2], [1, 4], [0, 1]


@pytest.mark.slow
def test_the_row_is_the_setting_that_is_best_on_validation_items(
    tiny_folder: str, tmp_path: Path
) -> None:
    """The choice is made again here from the rows alone."""
    grid = parse_grid(
        {
            "name": "layers",
            "models": [{"name": tiny_folder, "layers": LAYERS}],
            "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
            "methods": ["none", {"name": "caa", "strengths": STRENGTHS}],
            "tasks": [{"name": "truthful_mini_mc", "limit": 24}],
            "seeds": {"fit": SEEDS},
            "select": {"metric": "mc2", "layers": True},
        }
    )
    out = tmp_path / "run"
    assert run_grid(grid, out, None, lambda line: None).failed == ()
    rows = RunFolder(out).read_items()
    rows = rows.filter((pc.field("metric") == "mc2") & (pc.field("split") == "validation"))

    def score(layer: int, strength: float, seed: int) -> float:
        is_cell = (
            (pc.field("method") == "caa")
            & (pc.field("layer") == str(layer))
            & (pc.field("strength") == strength)
            & (pc.field("fit_seed") == seed)
        )
        return float(pc.mean(rows.filter(is_cell)["value"]).as_py())

    best = {
        layer: {seed: max(STRENGTHS, key=lambda s: score(layer, s, seed)) for seed in SEEDS}
        for layer in LAYERS
    }
    layer = max(LAYERS, key=lambda each: np.mean([score(each, best[each][s], s) for s in SEEDS]))
    (row,) = [
        row
        for row in analyse(RunFolder(out)).rows
        if (row.arm.method, row.metric.name) == ("caa", "mc2")
    ]
    assert (row.arm.layer, dict(row.strengths)) == (str(layer), best[layer])
    assert row.n_candidates == len(LAYERS) * len(STRENGTHS)
