"""Runs compared: the estimators on paired items, and in what the runs differ."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.common.errors import InputError
from steereval.harness.cli.main import main
from steereval.results.analysis.comparison import guard_of
from steereval.results.analysis.run_comparison import ArmPair, TwoRuns
from steereval.results.report.writers.comparison import (
    compared,
    comparison_markdown,
    write_comparison,
)
from steereval.results.stats import seed_robust_effect
from steereval.results.store.run_folder import RunFolder

HELPS = FakeMethod("helps", (1.0,), lambda task, strength: 0.3, seed_sd=0.02)
TASK = FakeTask("truth", kind="continuous", n_validation=20, n_test=100, n_clusters=9)
OLD = FakeRun((HELPS, FakeMethod("old", (1.0,))), (TASK,), fit_seeds=(0, 1, 2))
NEW = replace(
    OLD,
    methods=(replace(HELPS, effect=lambda task, strength: 0.7), FakeMethod("new", (1.0,))),
    fit_seeds=(1, 2, 3),
    noise=0.36,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    return {"old": write_run(OLD, folder / "old"), "new": write_run(NEW, folder / "new")}


@pytest.fixture(scope="module")
def two(runs: dict[str, RunFolder]) -> TwoRuns:
    (pair,) = compared(runs)
    return pair


def arm(two: TwoRuns, method: str, metric: str = "acc") -> ArmPair:
    (result,) = [a for a in two.arms if (a.arm.method, a.metric.name) == (method, metric)]
    return result


def matrix(run: RunFolder, method: str, seeds: tuple[int, ...]) -> Any:
    frame = run.read_items().to_pandas()
    test_rows = frame[(frame.method == method) & (frame.split == "test")]
    table = test_rows.pivot(index="item_id", columns="fit_seed", values="value")
    return table[list(seeds)]


def test_differences_are_those_of_the_estimator_on_paired_items_and_seeds(
    runs: dict[str, RunFolder], two: TwoRuns
) -> None:
    old, new = (matrix(run, "helps", (1, 2)) for run in runs.values())
    frame = runs["old"].read_items().to_pandas().drop_duplicates("item_id").set_index("item_id")
    clusters = frame.cluster_id.reindex(old.index)
    clusters = clusters.where(clusters.notna(), old.index.to_series()).factorize()[0]
    arm_pair = arm(two, "helps")
    assert arm_pair.comparison is not None
    guard = guard_of(arm_pair.metric)
    wanted = seed_robust_effect((new - old).to_numpy(), clusters, guard=guard)
    effect = arm_pair.comparison.effect
    for name in ("estimate", "se", "low", "high", "p_value"):
        assert getattr(effect, name) == pytest.approx(getattr(wanted, name))
    assert effect.n_items == 100
    assert effect.n_seeds == 2
    assert effect.estimate == pytest.approx(0.4, abs=0.15)
    assert arm_pair.word == "better"


def test_only_arms_of_both_runs_are_compared(two: TwoRuns) -> None:
    assert {a.arm.method for a in two.arms} == {"none", "helps"}
    assert any("old (layer 14), strength 1, on truth, tiny: 3 cells" in s for s in two.only_first)
    assert any("new (layer 14)" in s for s in two.only_second)
    assert any("helps (layer 14), strength 1, on truth, tiny: 1 cell" in s for s in two.only_second)


def test_p_values_are_adjusted_among_the_arms(two: TwoRuns) -> None:
    raw = [a.comparison.effect.p_value for a in two.arms if a.comparison is not None]
    adjusted = [a.p_adjusted for a in two.arms]
    assert adjusted[int(np.argmin(raw))] == pytest.approx(min(1.0, 2 * min(raw)))
    assert all(a is not None and a >= r for a, r in zip(adjusted, raw, strict=True))


def test_a_run_and_its_copy_is_identical(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    shutil.copytree(runs["old"].path, tmp_path / "copy")
    (two,) = compared({"old": runs["old"], "copy": RunFolder(tmp_path / "copy")})
    assert {a.word for a in two.arms} == {"identical"}
    assert (two.n_changed, two.only_first, two.only_second, two.grid, two.versions) == (
        0, (), (), (), ())  # fmt: skip
    assert two.n_same == 7
    text = comparison_markdown([two])
    assert "3 arms on primary metrics: 3 identical." in text
    assert "differ |" not in text


def test_grids_and_versions_that_differ_are_named(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    shutil.copytree(runs["old"].path, tmp_path / "copy")
    other = RunFolder(tmp_path / "copy")
    grid = {
        "name": "x",
        "methods": [{"name": "none"}, {"name": "caa", "options": {"a": 1}}],
        "seeds": {"fit": [0]},
        "run": {"workers": 1},
    }
    first = runs["old"].read_manifest()
    changed = {
        "name": "x",
        "methods": [{"name": "caa", "options": {"a": 2}}, {"name": "none"}],
        "seeds": {"fit": [0, 1]},
        "run": {"workers": 2},
    }
    other.write_manifest(first.model_copy(update={"grid": changed, "versions": {"torch": "9"}}))
    shutil.copytree(runs["old"].path, tmp_path / "first")
    run = RunFolder(tmp_path / "first")
    run.write_manifest(first.model_copy(update={"grid": grid, "versions": {"torch": "8"}}))
    (two,) = compared({"a": run, "b": other})
    assert [(d.path, d.first, d.second) for d in two.grid] == [
        ("methods.caa.options.a", "1", "2"),
        ("seeds.fit[1]", "absent", "1"),
    ]
    assert [(d.path, d.first, d.second) for d in two.versions] == [("versions.torch", '"8"', '"9"')]


def test_cells_of_one_name_that_compute_something_else(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    shutil.copytree(runs["old"].path, tmp_path / "copy")
    other = RunFolder(tmp_path / "copy")
    manifest = other.read_manifest()
    first, *others = manifest.cells
    cells = [first.model_copy(update={"cell_id": "feed" * 4}), *others]
    other.write_manifest(manifest.model_copy(update={"cells": cells}))
    (two,) = compared({"a": runs["old"], "b": other})
    assert (two.n_same, two.n_changed) == (6, 1)


def test_cells_of_one_id_that_were_computed_from_something_else(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    """Other weights under the same name; what only one run says is not compared."""
    both = []
    for name, digest in (("a", "1"), ("b", "2")):
        folder = RunFolder(shutil.copytree(runs["old"].path, tmp_path / name))
        manifest = folder.read_manifest()
        model = manifest.cells[0].model
        content = {f"model {model}": {"model.safetensors": digest}, "task x": {"documents": "3"}}
        folder.write_manifest(manifest.model_copy(update={"content": content}))
        both.append(folder)
    (two,) = compared({"a": both[0], "b": both[1]})
    assert (two.n_same, two.n_changed) == (0, 7)
    path = f"content.model {model}.model.safetensors"
    assert [(d.path, d.first, d.second) for d in two.versions] == [(path, '"1"', '"2"')]
    (two,) = compared({"a": runs["old"], "b": both[1]})
    assert (two.n_same, two.n_changed, two.versions) == (7, 0, ())


def test_items_that_one_run_lacks_or_chose_on_are_left_out(tmp_path: Path) -> None:
    """Of 100 and 110 items; ten of those that the first chose strengths on, the second tested."""
    small = FakeTask("truth", kind="continuous", n_validation=40, n_test=60)
    large = FakeTask("truth", kind="continuous", n_validation=30, n_test=80)
    runs = {
        "a": write_run(replace(OLD, tasks=(small,)), tmp_path / "a"),
        "b": write_run(replace(OLD, tasks=(large,)), tmp_path / "b"),
    }
    (two,) = compared(runs)
    arm_pair = arm(two, "helps").comparison
    assert arm_pair is not None
    assert arm_pair.effect.n_items == 60
    assert any("0 items are in the first run only and 10 in the second" in n for n in two.notes)
    assert any("10 items are left out, since one run tested them" in n for n in two.notes)


def test_strengths_that_each_run_chose_stand_side_by_side(tmp_path: Path) -> None:
    def best(at: float) -> FakeRun:
        method = FakeMethod("m", (1.0, 2.0), lambda task, strength: 0.5 * (strength == at))
        return FakeRun((method,), (TASK,), fit_seeds=(0, 1, 2))

    runs = {str(at): write_run(best(at), tmp_path / str(at)) for at in (1.0, 2.0)}
    (two,) = compared(runs)
    arm_pair = arm(two, "m")
    assert [set(strengths.values()) for strengths in arm_pair.strengths] == [{1.0}, {2.0}]
    assert "| m layer 14 | 1 \\| 2 |" in comparison_markdown([two])


def test_without_a_choice_equal_strengths_are_compared(tmp_path: Path) -> None:
    method = FakeMethod("m", (1.0, 2.0), lambda task, strength: strength / 10)
    run = FakeRun((method,), (TASK,), fit_seeds=(0,), select=None)
    more = replace(run, methods=(replace(method, strengths=(2.0, 3.0)),))
    (two,) = compared({"a": write_run(run, tmp_path / "a"), "b": write_run(more, tmp_path / "b")})
    result = [a for a in two.arms if a.arm.method == "m"]
    assert [set(strengths.values()) for a in result for strengths in a.strengths] == [{2.0}, {2.0}]


def test_perplexities_are_compared_as_factors(tmp_path: Path) -> None:
    task = FakeTask("text", "perplexity", "ratio", higher_is_better=False, n_test=80)
    run = replace(OLD, tasks=(task,), select=None)
    other = replace(run, methods=(replace(HELPS, effect=lambda task, strength: 0.1),), noise=0.36)
    (two,) = compared({"a": write_run(run, tmp_path / "a"), "b": write_run(other, tmp_path / "b")})
    arm_pair = arm(two, "helps", "perplexity")
    assert arm_pair.comparison is not None
    assert arm_pair.comparison.effect.estimate == pytest.approx(-0.2, abs=0.05)
    assert arm_pair.word == "better"
    assert "× 0.8" in comparison_markdown([two])


def test_runs_without_anything_in_common(tmp_path: Path, runs: dict[str, RunFolder]) -> None:
    other = replace(OLD, models=("other",))
    (two,) = compared({"a": runs["old"], "b": write_run(other, tmp_path / "b")})
    assert two.arms == ()
    assert "no arm in common" in comparison_markdown([two])


def test_metrics_that_point_the_other_way_are_not_compared(
    tmp_path: Path, runs: dict[str, RunFolder]
) -> None:
    other = replace(OLD, tasks=(replace(TASK, higher_is_better=False),))
    (two,) = compared({"a": runs["old"], "b": write_run(other, tmp_path / "b")})
    assert two.arms == ()
    assert any("acc of truth is not compared" in note for note in two.notes)


def test_an_arm_that_failed_in_one_run_is_reported(
    tmp_path: Path, runs: dict[str, RunFolder]
) -> None:
    failing = replace(OLD, fails=lambda cell: cell["method"] == "helps")
    (two,) = compared({"a": runs["old"], "b": write_run(failing, tmp_path / "b")})
    assert arm(two, "none").word == "identical"
    helps = arm(two, "helps")
    assert (helps.word, helps.untested) == ("not tested", "none of its cells finished")
    assert "– not tested none of its cells finished" in comparison_markdown([two])


def test_three_runs_are_two_comparisons_with_the_first(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    pairs = compared({**runs, "again": runs["old"]})
    assert [(t.first.name, t.second.name) for t in pairs] == [("old", "new"), ("old", "again")]
    page = write_comparison(pairs, tmp_path / "out")
    text = page.read_text("utf-8")
    assert text.count("<h2>") == 2
    assert "new against old" in text
    assert "<script src" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    table = pq.read_table(page.parent / "comparison.parquet").to_pylist()
    assert len(table) == len(pairs[0].arms) + len(pairs[1].arms)
    (row,) = [r for r in table if (r["second"], r["method"]) == ("new", "helps")]
    helps = arm(pairs[0], "helps").comparison
    assert helps is not None
    assert row["difference"] == helps.effect.estimate
    assert row["strengths_second"] == "1:1;2:1;3:1"
    assert (page.parent / "comparison.csv").read_text().count("\n") == len(table) + 1


def test_the_command(
    runs: dict[str, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = (str(run.path) for run in runs.values())
    assert main(["report", old, new]) == 0
    assert capsys.readouterr().out.startswith(f"# {new} against {old}".replace("_", "\\_"))
    assert main(["report", old, new, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'index.html'}\n"
    assert main(["report", old, old]) == 2
    assert "nothing to compare" in capsys.readouterr().err
    assert main(["report", old, new, "--dataset", str(tmp_path / "d")]) == 2
    with pytest.raises(InputError):
        compared({"one": runs["old"]})


def test_repetitions_are_not_arms(tmp_path: Path, runs: dict[str, RunFolder]) -> None:
    repeated = write_run(replace(OLD, repeated=("none", "helps")), tmp_path / "b")
    (two,) = compared({"a": runs["old"], "b": repeated})
    assert {a.word for a in two.arms} == {"identical"}
    assert two.only_second == ()
