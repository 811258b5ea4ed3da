"""Published figures: as they were published, beside the benchmarks they belong to, never tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.results.analysis.published import published_rows
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report
from steereval.results.report.tables.published import published_tables
from steereval.results.store.manifest import Metric, Task
from steereval.tasks.catalogue.cards import card, list_tasks

LLAMA = "meta-llama/Llama-3.1-8B"
RUN = FakeRun(
    (FakeMethod("helps", (1.0,), lambda task, strength: 0.3),),
    (
        FakeTask(
            "truthfulqa_judged", "true_informative", "bounded", n_validation=0, n_test=40,
            benchmark="truthfulqa",
        ),
    ),
    models=(LLAMA,),
    fit_seeds=(0, 1, 2),
    select=None,
)  # fmt: skip


def task(benchmark: str | None) -> Task:
    metric = Metric("m", "bounded", True)
    return Task("t", "target", None, "m", None, {"m": metric}, benchmark)


@pytest.mark.parametrize(
    ("benchmark", "metric", "model", "method", "value", "spread"),
    [
        ("truthfulqa", "true_informative", LLAMA, "ODESteer", 0.632, 0.00823),
        ("truthfulqa", "true_informative", "mistralai/Mistral-7B-v0.3", "HPR", 0.504, None),
        ("truthfulqa", "true_informative", "tiiuae/falcon-7b", "ODESteer, RK4", 0.428, None),
        ("ultrafeedback", "win", "Qwen/Qwen2.5-7B", "RE-Control", 0.515, None),
        ("ultrafeedback", "win", "/models/falcon-7b/", "ODESteer", 0.563, 0.018),
        ("realtoxicityprompts", "toxicity", "Meta-Llama-3.1-8B", "ODESteer", 0.116, 0.006),
        ("commonsense_qa", "acc", LLAMA, "unsteered", 0.68, None),
    ],
)
def test_figures_of_the_paper(
    benchmark: str, metric: str, model: str, method: str, value: float, spread: float | None
) -> None:
    published = {each.method: each for each in published_rows(task(benchmark), metric, model)}
    assert published[method].value == pytest.approx(value)
    assert published[method].spread == (None if spread is None else pytest.approx(spread))
    assert "arXiv 2602.17560" in published[method].source


@pytest.mark.parametrize("model", ["tiiuae/falcon-7b", "Mistral-7B-v0.3", LLAMA, "Qwen2.5-7B"])
def test_ten_methods_on_three_benchmarks_and_four_models(model: str) -> None:
    for benchmark, metric in (
        ("ultrafeedback", "win"),
        ("truthfulqa", "true_informative"),
        ("realtoxicityprompts", "toxicity"),
    ):
        methods = [each.method for each in published_rows(task(benchmark), metric, model)]
        assert methods[:10] == [
            "unsteered", "RepE", "ITI", "CAA", "MiMiC", "HPR", "RE-Control", "LinAcT",
            "TruthFlow", "ODESteer"]  # fmt: skip
        assert all(0 < e.value < 1 for e in published_rows(task(benchmark), metric, model))


@pytest.mark.parametrize(
    ("benchmark", "metric", "model"),
    [
        (None, "true_informative", LLAMA),
        ("truthfulqa", "acc", LLAMA),
        ("truthfulqa", "true_informative", "meta-llama/Llama-3.1-8B-Instruct"),
        ("truthfulqa", "true_informative", "smollm2-135m"),
    ],
)
def test_nothing_is_compared_with_another_quantity(
    benchmark: str | None, metric: str, model: str
) -> None:
    assert published_rows(task(benchmark), metric, model) == []


def test_stand_ins_are_not_benchmarks() -> None:
    for described in list_tasks():
        assert (described.benchmark is None) == ("_mini" in described.name)
    assert card("arc_challenge").benchmark == "arc_challenge"


@pytest.mark.slow
def test_the_report_marks_them_and_tests_nothing(tmp_path: Path) -> None:
    run = write_run(RUN, tmp_path / "run")
    (grid,) = published_tables(analyse(run).rows, {})
    shown = {(row[0].text, row[1].text): row for row in grid.rows}
    assert shown["ODESteer", "published"][2].text == "63.2 ± 0.823"
    assert shown["RepE", "published"][2].text == "39.5"
    assert shown["none", "measured here"][3].text == "40 test items"
    assert "not measured here and are not tested" in grid.caption
    folder = build_report(run).parent
    for name in ("index.html", "report.md"):
        text = (folder / name).read_text("utf-8")
        assert "True × Info" in text
        assert "Published figures" in text
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "items.jsonl"):
        assert "RepE" not in (folder / name).read_text("utf-8")
    assert {row.arm.method for row in analyse(run).rows} == {"none", "helps"}


@pytest.mark.slow
def test_a_report_without_benchmarks_says_nothing_of_it(tmp_path: Path) -> None:
    (task,) = RUN.tasks
    run = write_run(replace(RUN, tasks=(replace(task, benchmark=None),)), tmp_path / "run")
    text = (build_report(run).parent / "index.html").read_text("utf-8")
    assert "Published figures" not in text
