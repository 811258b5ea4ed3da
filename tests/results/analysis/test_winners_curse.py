"""The winner's curse: what is chosen on validation items loses on test items, and is told so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.results.analysis.run_analysis import analyse
from steereval.results.analysis.winners_curse import Choosing
from steereval.results.report import build_report
from steereval.results.report.tables.winners_curse import NOTHING_CHOSEN
from steereval.results.store.run_folder import RunFolder

EIGHT = tuple(float(s) for s in range(1, 9))
RUN = FakeRun(
    methods=(FakeMethod("useless", EIGHT), FakeMethod("single", (1.0,))),
    tasks=(
        FakeTask("truth", kind="continuous", n_validation=40, n_test=200),
        FakeTask("capability", role="capability", margin=0.1, n_validation=40, n_test=40),
    ),
    fit_seeds=(0, 1, 2, 3),
    select={"on": "validation", "metric": "acc", "task": None},
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(RUN, tmp_path_factory.mktemp("curse"))


def choosings_of(run: RunFolder) -> dict[str, Choosing]:
    return {each.row.arm.method: each for each in analyse(run).choosings}


@pytest.mark.slow
def test_gains_are_means_over_the_items_of_each_side(run: RunFolder) -> None:
    """Against pandas: per fit seed the strength with the best validation mean."""
    items = run.read_items().to_pandas()
    items = items[items.task == "truth"]
    means = items.groupby(["method", "split", "fit_seed", "strength"], dropna=False).value.mean()
    baseline = means["none"].groupby("split").mean()
    by_split = means["useless"].unstack("split")
    per_seed = [group for _, group in by_split.groupby("fit_seed")]
    chosen = [group.loc[group.validation.idxmax()] for group in per_seed]
    each = choosings_of(run)["useless"]
    before, after = (np.mean([row[split] for row in chosen]) for split in ("validation", "test"))
    assert each.on_validation.score == pytest.approx(before)
    assert each.on_validation.gain == pytest.approx(before - baseline["validation"])
    assert each.on_test.gain == pytest.approx(after - baseline["test"])
    best = np.mean([group.test.max() for group in per_seed])
    assert each.best_on_test == pytest.approx(best - baseline["test"])
    assert each.row.comparison is not None
    assert each.on_test.gain == pytest.approx(each.row.comparison.effect.estimate)


def test_useless_settings_look_better_where_they_were_chosen(run: RunFolder) -> None:
    """The best of eight useless strengths: a gain on validation items, none on test items."""
    each = choosings_of(run)["useless"]
    assert each.n_candidates == 8
    assert each.n_validation == 40
    assert each.lost > 0.03
    assert each.best_on_test > each.on_test.gain


def test_with_one_strength_nothing_was_chosen(run: RunFolder) -> None:
    each = choosings_of(run)["single"]
    assert each.n_candidates == 1
    assert each.best_on_test == pytest.approx(each.on_test.gain)


def test_a_task_that_chooses_nothing_has_no_entry(run: RunFolder) -> None:
    """The capability's strengths are those of the target task."""
    assert {each.row.task.name for each in analyse(run).choosings} == {"truth"}


def test_less_of_a_toxicity_is_a_gain(tmp_path: Path) -> None:
    task = FakeTask("toxicity", metric="toxicity", kind="bounded", higher_is_better=False)
    calm = FakeMethod("calm", (1.0, 2.0), lambda name, strength: -0.3)
    run = write_run(dataclasses.replace(RUN, methods=(calm,), tasks=(task,)), tmp_path)
    assert choosings_of(run)["calm"].on_test.gain > 0.15


@pytest.mark.slow
def test_the_report_says_what_was_lost(run: RunFolder) -> None:
    path = build_report(run)
    text = " ".join(path.read_text(encoding="utf-8").split())
    each = choosings_of(run)["useless"]
    lost = f"{100 * each.lost:.1f}" if each.row.metric.in_points else f"{each.lost:.3f}"
    assert f"1 method with a choice loses {lost} from validation to test items" in text
    markdown = (path.parent / "report.md").read_text(encoding="utf-8")
    assert f"loses {lost} from" in markdown


@pytest.mark.slow
def test_without_a_choice_the_report_says_so(tmp_path: Path) -> None:
    run = write_run(dataclasses.replace(RUN, select=None), tmp_path)
    assert NOTHING_CHOSEN in build_report(run).read_text(encoding="utf-8")
    assert analyse(run).choosings == ()
