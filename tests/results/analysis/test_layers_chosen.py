"""Layer and strength chosen together on validation items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, Floats, write_run
from scipy.stats import binom

from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import analyse
from steereval.results.analysis.run_comparison import compare_runs, open_run
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


@pytest.mark.slow
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
    page = build_report(write_run(RUN, tmp_path / "again")).read_text()
    assert "layer 14" in page
    assert "Layers and strengths were chosen" in page


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


def row_of(run: FakeRun, folder: Path) -> Row:
    (row,) = [row for row in analyse(write_run(run, folder)).rows if row.arm.method == "sweep"]
    return row


def test_lost_items_give_a_layer_no_advantage(tmp_path: Path) -> None:
    """Layer 10 loses its worst items, so that the mean of the others is the best of all."""

    def lost(cell: dict[str, Any], values: Floats) -> Floats:
        is_poor = values < np.median(values)
        return is_poor.astype(float) if cell["layer"] == "10" else np.zeros(len(values))

    assert row_of(replace(RUN, lost=lost), tmp_path / "run").arm.layer == "14"


def test_a_failed_seed_gives_a_layer_no_advantage(tmp_path: Path) -> None:
    """Seed 2 is better at every layer, and the other seeds of layer 10 have failed."""

    def better_in_seed_2(cell: dict[str, Any], values: Floats) -> Floats:
        shift = 2.0 if cell["method"] == "sweep" and cell["fit_seed"] == 2 else 0.0
        return np.asarray(planted(cell, values) + shift)

    def fails(cell: dict[str, Any]) -> bool:
        return cell["layer"] == "10" and cell["fit_seed"] != 2

    run = replace(RUN, value=better_in_seed_2, fails=fails)
    row = row_of(run, tmp_path / "run")
    assert row.arm.layer != "10"
    assert set(row.strengths) == {0, 1, 2}, "the seeds of the chosen layer stay"
    assert "1 of the fit seeds" in row.how_chosen


def test_a_layer_that_failed_is_left_out(tmp_path: Path) -> None:
    run = replace(RUN, fails=lambda cell: cell["layer"] == "14")
    row = row_of(run, tmp_path / "run")
    assert row.arm.layer == "18"
    assert "one layer of 2" in row.how_chosen
    assert "14 has no scores" in row.how_chosen


def seeds_apart(cell: dict[str, Any]) -> bool:
    """Layers 10, 14 and 18 have finished with the fit seeds 0, 1 and 2."""
    return (
        cell["method"] == "sweep"
        and {"10": 0, "14": 1, "18": 2}[cell["layer"]] != (cell["fit_seed"])
    )


def test_layers_without_a_common_seed_are_rows_that_say_so(tmp_path: Path) -> None:
    analysis = analyse(write_run(replace(RUN, fails=seeds_apart), tmp_path / "run"))
    rows = [row for row in analysis.rows if row.arm.method == "sweep"]
    assert [row.arm.layer for row in rows] == ["10", "14", "18"]
    assert all("not compared" in row.how_chosen for row in rows)


def test_rows_of_a_chosen_layer_are_not_compared_with_rows_of_single_layers(
    tmp_path: Path,
) -> None:
    runs = [
        open_run("first", write_run(RUN, tmp_path / "first")),
        open_run("second", write_run(replace(RUN, fails=seeds_apart), tmp_path / "second")),
    ]
    for one, other in (runs, runs[::-1]):
        pairs = [pair for pair in compare_runs(one, other).arms if pair.arm.method == "sweep"]
        assert all(pair.arm.layer == pair.other_arm.layer for pair in pairs)


def test_the_winners_curse_counts_all_layers(tmp_path: Path) -> None:
    """The best on test items is the best of all settings, not of the chosen layer alone."""

    def other_on_test(cell: dict[str, Any], values: Floats) -> Floats:
        shifted = planted(cell, values)
        if (cell["layer"], cell["strength"]) == ("18", 2.0):
            shifted = shifted + np.where(np.arange(len(values)) < 60, 0.0, 0.5)
        return np.asarray(shifted)

    analysis = analyse(write_run(replace(RUN, value=other_on_test), tmp_path / "run"))
    (choosing,) = [c for c in analysis.choosings if c.row.arm.method == "sweep"]
    assert choosing.row.arm.layer == "14"
    assert choosing.n_candidates == 6
    assert choosing.best_on_test == pytest.approx(0.7, abs=0.15)
    assert choosing.on_test.gain == pytest.approx(0.3, abs=0.15)


def test_strengths_are_marked_as_chosen_at_the_chosen_layer_alone(tmp_path: Path) -> None:
    points = analyse(write_run(RUN, tmp_path / "run")).responses
    chosen = {(p.arm.layer, p.strength) for p in points if p.arm.method == "sweep" and p.n_chosen}
    assert chosen == {("14", 1.0)}


@pytest.mark.slow
def test_two_runs_are_compared_at_the_layers_that_each_chose(tmp_path: Path) -> None:
    def best_at_18(cell: dict[str, Any], values: Floats) -> Floats:
        layer = {"14": "18", "18": "14"}.get(cell["layer"], cell["layer"])
        return planted(cell | {"layer": layer}, values)

    runs = [
        open_run(name, write_run(replace(RUN, value=value), tmp_path / name))
        for name, value in (("first", planted), ("second", best_at_18))
    ]
    (pair,) = [pair for pair in compare_runs(*runs).arms if pair.arm.method == "sweep"]
    assert (pair.arm.layer, pair.other_arm.layer) == ("14", "18")
    assert pair.comparison is not None
    assert pair.comparison.effect.estimate == pytest.approx(0, abs=0.1)


NULL_RUNS = 40


@pytest.mark.slow
def test_useless_layers_claim_nothing(tmp_path: Path) -> None:
    """The choice among twelve settings costs nothing on the test items."""
    claims = 0
    for number in range(NULL_RUNS):
        task = FakeTask(f"t{number}", kind="continuous", n_validation=40, n_test=60)
        methods = (FakeMethod("sweep", (1.0, 2.0, 3.0), layers=("1", "2", "3", "4")),)
        run = replace(RUN, methods=methods, tasks=(task,), value=FakeRun.value)
        row = row_of(run, tmp_path / str(number))
        assert row.comparison is not None
        claims += row.comparison.effect.p_value < 0.05
    # A test of size 0.05 claims more in one of a thousand repetitions of this test.
    assert claims <= binom.isf(0.001, NULL_RUNS, 0.05)
