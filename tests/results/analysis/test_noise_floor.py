"""The noise floor: cells that were computed twice, and that never become a method."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, facts, write_run

from steereval.results.analysis.noise_floor import NoiseFloor
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report import build_report
from steereval.results.report.tables.noise_floor import NOT_MEASURED, noise_words
from steereval.results.store.run_folder import RunFolder

Floats = npt.NDArray[np.float64]


def moved(values: Floats) -> Floats:
    """The first ten test items, which are the eleventh to twentieth, differ by 0.01 to 0.10."""
    shift = np.zeros_like(values)
    shift[10:20] = np.arange(1, 11) / 100
    return values + shift


RUN = FakeRun(
    methods=(FakeMethod("caa", (1.0, 2.0), lambda task, s: 0.1, seed_sd=0.05), FakeMethod("iti")),
    tasks=(FakeTask("truth", metric="mc2", kind="continuous", n_validation=10, n_test=60),),
    fit_seeds=(0, 1, 2),
    repeated=("none", "caa"),
    noise_floor=moved,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(RUN, tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def analysis(run: RunFolder) -> Analysis:
    return analyse(run)


def floors(analysis: Analysis) -> dict[str, NoiseFloor]:
    return {floor.cell.arm.method: floor for floor in analysis.noise_floors}


def test_what_differs_is_counted_and_measured(analysis: Analysis) -> None:
    for floor in analysis.noise_floors:
        assert floor.n_items == 60
        assert floor.n_differing == 10
        assert floor.largest == pytest.approx(0.10)
        assert floor.effect is not None
        assert floor.effect.estimate == pytest.approx(np.arange(1, 11).sum() / 100 / 60)
        assert floor.effect.low < floor.effect.estimate < floor.effect.high
        assert floor.batch_sizes == (32, 16)
        assert floor.is_other_worker is True


def test_it_is_compared_with_the_spread_between_seeds(analysis: Analysis, run: RunFolder) -> None:
    result = floors(analysis)
    assert result["none"].seed_spread is None
    items = run.read_items().to_pandas()
    caa_items = items[(items.method == "caa") & (items.strength == 1.0) & (items.split == "test")]
    spread = caa_items.groupby("fit_seed").value.mean().std(ddof=1)
    assert result["caa"].seed_spread == pytest.approx(spread)
    assert result["caa"].n_seeds == 3


def test_a_repetition_is_not_a_method(analysis: Analysis, tmp_path: Path) -> None:
    """All else is as if nothing had been computed twice."""
    plain = analyse(write_run(dataclasses.replace(RUN, repeated=()), tmp_path))
    for name in ("models", "rows", "responses", "replications", "across", "failures", "notes"):
        assert str(getattr(plain, name)) == str(getattr(analysis, name)), name
    assert plain.noise_floors == ()
    assert plain.cells.planned + 2 == analysis.cells.planned == analysis.cells.done


def test_items_that_only_a_repetition_lacks_stay_in(tmp_path: Path) -> None:
    """A repetition that scored other items neither adds items nor takes any from the rows."""
    run = write_run(RUN, tmp_path)
    (again,) = [
        cell for cell in run.read_manifest().cells
        if cell.method == "none (repeated)"
    ]  # fmt: skip
    items, responses = run.read_cell(again.cell_id)
    run.write_cell(again.cell_id, items.slice(0, 30), responses, facts())
    result = analyse(run)
    assert floors(result)["none"].n_items == 20
    assert {row.n_dropped_items for row in result.rows} == {0}
    assert {row.score.n_items for row in result.rows if row.score} == {60}
    assert floors(result)["none"].batch_sizes is None
    assert floors(result)["none"].is_other_worker is None


@pytest.mark.slow
def test_equal_scores_are_said_to_be_equal(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, noise_floor=lambda values: values)
    path = build_report(write_run(run, tmp_path))
    text = path.read_text(encoding="utf-8")
    assert "All 120 scores that were computed twice are equal to the last digit." in text
    assert "none (repeated)" not in text


@pytest.mark.slow
def test_noise_beyond_the_seeds_is_named(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, noise_floor=lambda values: values + 0.5)
    path = build_report(write_run(run, tmp_path))
    text = path.read_text(encoding="utf-8")
    assert "120 of 120 scores that were computed twice differ; on truth · mc2 the mean" in text


def test_small_noise_is_reported_as_a_share_of_the_seeds_spread(analysis: Analysis) -> None:
    result = floors(analysis)["caa"]
    assert result.effect is not None
    assert result.seed_spread is not None
    share = 100 * result.effect.estimate / result.seed_spread
    assert 0 < share < 100
    words = noise_words(analysis.noise_floors, 2)
    assert words.endswith(f"no mean moves by more than {share:.2g} % of the fit seeds' spread.")


def test_equal_fits_do_not_spread(tmp_path: Path) -> None:
    """Nor by what rounding leaves of equal sums."""
    run = dataclasses.replace(RUN, value=lambda cell, v: np.linspace(0.1, 0.7, len(v)))
    assert floors(analyse(write_run(run, tmp_path)))["caa"].seed_spread == 0.0


def test_infinite_scores_that_are_equal_do_not_differ(tmp_path: Path) -> None:
    ppl = FakeTask("ppl", metric="perplexity", kind="ratio", higher_is_better=False, n_test=20)
    run = dataclasses.replace(
        RUN, tasks=(ppl,), noise_floor=lambda v: v, value=lambda cell, v: np.full_like(v, np.inf)
    )
    for floor in analyse(write_run(run, tmp_path)).noise_floors:
        assert (floor.n_differing, floor.largest, floor.effect) == (0, 0.0, None)
        assert floor.untested == "some values are infinite, so no difference can be estimated"


@pytest.mark.slow
def test_without_pairs_the_report_says_so(tmp_path: Path) -> None:
    folder = build_report(write_run(dataclasses.replace(RUN, repeated=()), tmp_path)).parent
    assert NOT_MEASURED in (folder / "report.md").read_text(encoding="utf-8")


def test_pairs_that_failed_are_not_evidence(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, fails=lambda cell: "repeats" in cell)
    result = analyse(write_run(run, tmp_path))
    assert result.noise_floors == ()
    assert result.cells.failed == 2
    assert "Of the 2 cells to be computed twice, none is" in noise_words(
        result.noise_floors, len(result.plan.repeats)
    )
