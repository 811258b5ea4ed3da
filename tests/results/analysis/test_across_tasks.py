"""Arms over several tasks, and tests adjusted together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import (
    FakeMethod,
    FakeRun,
    FakeTask,
    Floats,
    generator_of,
    manifest_of,
    write_run,
)

from steereval.results.analysis.comparison import guard_of
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report import build_report
from steereval.results.stats import adjust, crossed_effect
from steereval.results.store.run_folder import RunFolder


def helps(task: str, strength: float) -> float:
    return -0.2 if task == "toxicity" else 0.2


RUN = FakeRun(
    methods=(FakeMethod("helps", effect=helps), FakeMethod("nothing")),
    tasks=(
        FakeTask("truth", kind="bounded", n_validation=0, n_test=150),
        FakeTask("honesty", n_validation=0, n_test=150, n_clusters=30),
        FakeTask("toxicity", kind="bounded", higher_is_better=False, n_validation=0, n_test=90),
        FakeTask("capability", role="capability", margin=0.1, n_validation=0, n_test=90),
    ),
    fit_seeds=(0, 1, 2, 3),
)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(write_run(RUN, tmp_path_factory.mktemp("across") / "run"))


def test_the_macro_mean_is_that_of_the_target_tasks_turned_to_improvement(
    analysis: Analysis,
) -> None:
    (across,) = analysis.across
    assert across.tasks == ("truth", "honesty", "toxicity")
    first, second = across.arms
    assert (first.name, second.name) == ("helps (layer 14)", "nothing (layer 14)")
    rows = [
        row
        for row in analysis.rows
        if row.arm.method == "helps" and row.task.is_target and row.comparison is not None
    ]
    turned = [
        (1 if row.metric.higher_is_better else -1) * row.comparison.effect.estimate
        for row in rows
        if row.comparison is not None
    ]
    assert first.effect.estimate == pytest.approx(np.mean(turned))
    assert first.p_adjusted < 0.001 < 0.05 < second.p_adjusted
    assert (first.probability, first.mean_rank) == (1.0, 1.0)
    assert first.rank_interval == (1.0, 1.0)
    assert (first.over_tasks, across.friedman) == (None, None), "three tasks are no sample of tasks"


@pytest.mark.slow
def test_seeds_that_one_task_lacks_are_left_out_of_the_macro_mean(tmp_path: Path) -> None:
    run = dataclasses.replace(
        RUN,
        fails=lambda cell: (
            (cell["task"], cell["fit_seed"]) == ("truth", 2)
            or (cell["task"], cell["method"]) == ("honesty", "nothing")
        ),
    )
    (across,) = analyse(write_run(run, tmp_path)).across
    assert [arm.name for arm in across.arms] == ["helps (layer 14)"]
    assert across.arms[0].effect.n_seeds == 3
    assert across.left_out == ("nothing (layer 14)",)


@pytest.mark.slow
def test_from_ten_tasks_on_tasks_are_a_sample(tmp_path: Path) -> None:
    tasks = tuple(FakeTask(f"t{i}", kind="bounded", n_validation=0, n_test=40) for i in range(10))
    run = dataclasses.replace(RUN, tasks=tasks, fit_seeds=(0, 1, 2))
    folder = write_run(run, tmp_path)
    (across,) = analyse(folder).across
    assert across.friedman is not None
    assert across.friedman.p_value < 0.01
    assert across.arms[0].over_tasks is not None
    low, high = across.arms[0].over_tasks
    assert 0 < low < across.arms[0].effect.estimate < high
    text = (build_report(folder).parent / "report.md").read_text(encoding="utf-8")
    assert "mean ranks differ from" in text


@pytest.mark.slow
def test_the_report_shows_the_macro_means(tmp_path: Path) -> None:
    path = build_report(write_run(RUN, tmp_path))
    for name in ("index.html", "report.md"):
        text = (path.parent / name).read_text(encoding="utf-8")
        assert "tiny: over 3 target tasks (truth, honesty, toxicity)" in text


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3)])
def test_max_t_asks_for_less_than_holm_where_tests_hang_together(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    methods = tuple(
        FakeMethod(f"m{i}", effect=lambda task, strength: 0.03, seed_sd=0.01) for i in range(6)
    )
    task = FakeTask("truth", kind="continuous", n_validation=0, n_test=200)
    run = FakeRun(methods=methods, tasks=(task,), fit_seeds=seeds, noise=0.2)
    result = {}
    for correction in ("holm", "max-t"):
        folder = write_run(run, tmp_path / correction)
        manifest = folder.read_manifest()
        analysis = manifest.analysis.model_copy(update={"correction": correction})
        folder.write_manifest(manifest.model_copy(update={"analysis": analysis}))
        rows = [row for row in analyse(folder).rows if not row.is_baseline]
        raw = [row.comparison.effect.p_value for row in rows if row.comparison is not None]
        result[correction] = np.array([row.p_adjusted for row in rows], dtype=float)
        assert np.all(result[correction] >= np.array(raw) - 1e-3)
    assert result["max-t"].sum() < result["holm"].sum()


def test_three_seeds_that_agree_by_chance_make_no_claim(tmp_path: Path) -> None:
    methods = (FakeMethod("weak", effect=lambda t, s: 0.07, seed_sd=0.04), FakeMethod("nothing"))
    task = FakeTask("truth", kind="continuous", n_validation=0)
    run = FakeRun(methods=methods, tasks=(task,), fit_seeds=(0, 1, 2))

    def claimed(seeds: tuple[int, ...], folder: Path) -> tuple[str, bool, bool]:
        rows = analyse(write_run(dataclasses.replace(run, fit_seeds=seeds), folder)).rows
        (row,) = [row for row in rows if row.arm.method == "weak"]
        assert row.verdict is not None
        assert row.comparison is not None
        assert row.p_adjusted is not None
        plain = crossed_effect(row.comparison.values, row.comparison.grouping.clusters)
        by_t = 2 * plain.p_value  # Holm's first step among two
        effect = row.comparison.effect
        assert effect.p_value == effect.p_robust
        assert (effect.p_value < 0.05) == (effect.low > 0.0)
        assert row.mde is not None
        assert row.mde > effect.estimate - effect.low
        return row.verdict.word, row.p_adjusted < 0.05, by_t < 0.05

    assert claimed((0, 1, 2), tmp_path / "3") == ("inconclusive", False, True)
    assert claimed(tuple(range(12)), tmp_path / "12") == ("better", True, True)


def test_a_table_without_any_row_has_no_macro_mean(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    folder.write_manifest(manifest_of(dataclasses.replace(RUN, methods=()), []))
    assert analyse(folder).across == ()


@pytest.mark.slow
def test_three_seeds_that_spread_claim_no_rank(tmp_path: Path) -> None:
    """By the crossed t nearly half of such tables claim one."""
    tasks = tuple(
        FakeTask(f"truth{number}", kind="continuous", n_validation=0, n_test=100)
        for number in range(6)
    )
    methods = tuple(FakeMethod(f"m{i}", seed_sd=0.12) for i in range(10))
    run = FakeRun(methods=methods, tasks=tasks, fit_seeds=(0, 1, 2), select=None)
    rows = analyse(write_run(run, tmp_path)).rows
    claimed = {row.task.name for row in rows if row.rank != (1, 11)}
    assert len(claimed) <= 1  # 0.3 are expected at 5 %


def test_tasks_of_the_same_documents_share_their_items(tmp_path: Path) -> None:
    """Two tasks that ask the same documents know less than two that do not."""

    def document(task: str, number: int) -> str:
        return f"{number:016x}"

    def effect_of(shared: bool) -> tuple[int, float]:
        ids = document if shared else FakeTask.item_id
        tasks = tuple(
            FakeTask(name, kind="bounded", n_validation=0, n_test=100, item_id=ids)
            for name in ("mc1", "mc2")
        )
        alike = FakeRun((FakeMethod("m"),), tasks, fit_seeds=(0, 1), value=as_in_the_first_task)
        (across,) = analyse(write_run(alike, tmp_path / str(shared))).across
        (arm,) = across.arms
        return arm.effect.n_clusters, arm.effect.se

    together, apart = effect_of(True), effect_of(False)
    assert (together[0], apart[0]) == (100, 200)
    assert together[1] == pytest.approx(np.sqrt(2) * apart[1], rel=0.05)


def as_in_the_first_task(cell: dict[str, Any], values: Floats) -> Floats:
    """The difference between the arms is the item's, whichever task and seed ask for it."""
    item = generator_of("item of both tasks").normal(0, 0.3, len(values))
    return 0.4 + 0.01 * values + (0.1 * item if cell["method"] == "m" else 0.0)


def test_all_that_carries_a_claim_takes_the_seed_robust_p_values(tmp_path: Path) -> None:
    methods = tuple(
        FakeMethod(f"m{i}", effect=lambda task, strength: 0.1, seed_sd=0.03) for i in range(3)
    )
    tasks = tuple(FakeTask(f"t{i}", kind="bounded", n_validation=0, n_test=100) for i in range(2))
    run = FakeRun(methods=methods, tasks=tasks, fit_seeds=(0, 1, 2), select=None)
    analysis = analyse(write_run(run, tmp_path))
    rows = [row for row in analysis.rows if row.comparison is not None]
    plain = [
        crossed_effect(
            row.comparison.values, row.comparison.grouping.clusters, guard=guard_of(row.metric)
        )
        for row in rows
        if row.comparison is not None
    ]
    robust = [effect.p_robust for effect in plain]
    assert any(effect.p_robust > 1.2 * effect.p_value for effect in plain)
    assert [row.p_adjusted for row in rows] == pytest.approx(list(adjust(robust, "holm")))
    (across,) = analysis.across
    macro = [arm.effect.p_robust for arm in across.arms]
    assert [arm.effect.p_value for arm in across.arms] == macro
    assert [arm.p_adjusted for arm in across.arms] == pytest.approx(list(adjust(macro, "holm")))
    gains = {
        (row.arm.method, row.task.name): row.p_adjusted
        if row.comparison is not None and row.comparison.effect.estimate > 0
        else 1.0
        for row in rows
    }
    for result in analysis.replications:
        method = result.arm.partition(" ")[0]
        assert list(result.p_values) == sorted(gains[method, task.name] or 0.0 for task in tasks)
