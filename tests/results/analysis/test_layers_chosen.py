"""Layer and strength chosen together on validation items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, Floats, write_run

from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report

EFFECTS = {("10", 1.0): 0.0, ("10", 2.0): 0.1, ("14", 1.0): 0.3, ("14", 2.0): 0.1,
           ("18", 1.0): -0.2, ("18", 2.0): 0.2}  # fmt: skip


def planted(cell: dict[str, Any], values: Floats) -> Floats:
    """Effects by layer and strength, of the method `sweep` alone."""
    if cell["method"] != "sweep":
        return values
    return np.asarray(values + EFFECTS[cell["layer"], cell["strength"]])


RUN = FakeRun(
    (FakeMethod("sweep", (1.0, 2.0), layers=("10", "14", "18")), FakeMethod("other", (1.0, 2.0))),
    (FakeTask("truth", kind="continuous", n_validation=60, n_test=120),),
    fit_seeds=(0, 1, 2),
    select={"on": "validation", "metric": "acc", "task": None, "layers": True},
    value=planted,
)


def test_the_best_layer_and_strength_are_the_row(tmp_path: Path) -> None:
    analysis = analyse(write_run(RUN, tmp_path / "run"))
    (row,) = [row for row in analysis.rows if row.arm.method == "sweep"]
    assert row.arm.layer == "14"
    assert set(row.strengths.values()) == {1.0}
    assert row.n_candidates == 6
    assert "layer" in row.how_chosen
    assert row.comparison is not None
    assert row.comparison.effect.n_items == 120, "test items alone"
    assert row.comparison.effect.estimate == pytest.approx(0.3, abs=0.1)
    assert "14" in build_report(write_run(RUN, tmp_path / "again")).read_text()


def test_without_it_each_layer_is_a_row(tmp_path: Path) -> None:
    assert RUN.select is not None
    run = replace(RUN, select=RUN.select | {"layers": False})
    analysis = analyse(write_run(run, tmp_path / "run"))
    assert [r.arm.layer for r in analysis.rows if r.arm.method == "sweep"] == ["10", "14", "18"]


def test_a_lower_score_may_be_better(tmp_path: Path) -> None:
    task = FakeTask("toxicity", kind="continuous", n_validation=60, n_test=120)
    run = replace(RUN, tasks=(replace(task, higher_is_better=False),))
    analysis = analyse(write_run(run, tmp_path / "run"))
    (row,) = [row for row in analysis.rows if row.arm.method == "sweep"]
    assert (row.arm.layer, set(row.strengths.values())) == ("18", {1.0})


def test_useless_layers_claim_nothing(tmp_path: Path) -> None:
    """The choice among twelve settings costs nothing on the test items."""
    claims = 0
    for number in range(30):
        task = FakeTask(f"t{number}", kind="continuous", n_validation=40, n_test=60)
        methods = (FakeMethod("sweep", (1.0, 2.0, 3.0), layers=("1", "2", "3", "4")),)
        run = replace(RUN, methods=methods, tasks=(task,), value=FakeRun.value)
        (row,) = [
            row
            for row in analyse(write_run(run, tmp_path / str(number))).rows
            if row.arm.method == "sweep"
        ]
        assert row.comparison is not None
        claims += row.comparison.effect.p_value < 0.05
    assert claims <= 5
