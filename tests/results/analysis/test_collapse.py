"""Collapse: what is ruined at large strengths is named, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.results.analysis.collapse import companions, side_by_side, target_metric
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report.plots.collapse_plot import collapse_plot
from steereval.results.report.plots.drawing import Absence, Picture
from steereval.results.report.tables.collapse import collapse_table, collapse_words
from steereval.results.store.manifest import Metric, Task

Share = Callable[[str, float], float]


def true_share(method: str, strength: float) -> float:
    """Truer and truer; nothing when unsteered or under the harmless method."""
    return {0.0: 0.384, 5.0: 0.6, 15.0: 0.8, 25.0: 0.9584}[
        strength if method == "odesteer" else 0.0
    ]


def informative_share(method: str, strength: float) -> float:
    return {0.0: 0.9, 5.0: 0.89, 15.0: 0.7, 25.0: 0.093}[strength if method == "odesteer" else 0.0]


def judged_run(informative: Share = informative_share, **changes: Any) -> FakeRun:
    answers = {"n_validation": 0, "n_test": 817}
    beside = (
        FakeTask("informative", "informative", share=informative, **answers),
        FakeTask(
            "joint", "true_informative", **answers,
            share=lambda method, s: true_share(method, s) * informative(method, s),
        ),
    )  # fmt: skip
    task = FakeTask("open", "true", share=true_share, beside=beside, **answers)
    methods = tuple(FakeMethod(name, (5.0, 15.0, 25.0)) for name in ("odesteer", "caa"))
    return FakeRun(methods, (task,), fit_seeds=(0, 1, 2), select=None, **changes)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyse(write_run(judged_run(), tmp_path_factory.mktemp("judged") / "run"))


def texts_run(perplexity: Callable[[float], float], distinct: Callable[[float], float]) -> FakeRun:
    """Toxicity beside perplexities and distinct-n, by strength; exact but for the items' spread."""
    sizes = {"n_validation": 0, "n_test": 120}
    beside = (
        FakeTask("ppl", "perplexity", "ratio", higher_is_better=False, **sizes),
        *(FakeTask(f"d{n}", f"distinct_{n}", "bounded", base=0.8, **sizes) for n in (1, 2)),
    )

    def effect(name: str, strength: float) -> float:
        return {"ppl": perplexity, "d1": distinct, "d2": distinct}.get(name, lambda s: 0.0)(
            strength
        )

    task = FakeTask("toxic", "toxicity", "bounded", higher_is_better=False, beside=beside, **sizes)
    methods = (FakeMethod("caa", (1.0, 2.0, 4.0, 8.0), effect),)
    return FakeRun(methods, (task,), fit_seeds=(0, 1), select=None, noise=0.1)


def begins(analysis: Analysis) -> dict[tuple[str, str], float | None]:
    return {
        (each.arm.method, each.metric.name): each.begins and each.begins.strength
        for each in analysis.collapses
    }


def test_true_958_and_informative_93_are_named(judged: Analysis) -> None:
    assert begins(judged) == {("odesteer", "informative"): 25.0, ("caa", "informative"): None}
    (words,) = collapse_words(judged.collapses)
    assert words.startswith(
        "tiny, open: odesteer (layer 14) collapses from strength 25 on: informative is 9.3 there "
        "against 90.0 unsteered (-80.7 points ["
    )
    assert words.endswith("while true is 95.8.")
    (row, other) = collapse_table(judged.collapses).rows
    assert [entry.text for entry in row[:5]] == ["odesteer", "informative", "90.0", "25", "9.3"]
    assert row[6].text == "95.8"
    assert [entry.text for entry in other[:4]] == ["caa", "informative", "90.0", "not"]


@pytest.mark.slow
def test_nothing_collapses_where_half_is_left(tmp_path: Path) -> None:
    def half(method: str, strength: float) -> float:
        return 0.46 if method == "odesteer" and strength == 25.0 else 0.9

    analysis = analyse(write_run(judged_run(half), tmp_path / "run"))
    assert set(begins(analysis).values()) == {None}
    assert list(collapse_words(analysis.collapses)) == [
        "tiny, open: no method collapses within its strengths."
    ]


@pytest.mark.slow
def test_a_dip_that_recovers_is_not_a_collapse(tmp_path: Path) -> None:
    def dips(method: str, strength: float) -> float:
        return 0.1 if method == "odesteer" and strength == 15.0 else 0.9

    analysis = analyse(write_run(judged_run(dips), tmp_path / "run"))
    assert set(begins(analysis).values()) == {None}


@pytest.mark.slow
def test_a_collapse_begins_at_its_smallest_strength(tmp_path: Path) -> None:
    def early(method: str, strength: float) -> float:
        return 0.1 if method == "odesteer" and strength >= 15.0 else 0.9

    analysis = analyse(write_run(judged_run(early), tmp_path / "run"))
    assert begins(analysis)["odesteer", "informative"] == 15.0


def test_perplexities_that_double_and_texts_that_repeat(tmp_path: Path) -> None:
    """ln 2 is 0.69: 0.6 is not double, 0.8 is."""
    run = texts_run(
        lambda s: {1: 0.0, 2: 0.6, 4: 0.8, 8: 3.0}[s], lambda s: -0.7 if s == 8 else 0.0
    )
    analysis = analyse(write_run(run, tmp_path / "run"))
    assert begins(analysis) == {
        ("caa", "perplexity"): 4.0,
        ("caa", "distinct_1"): 8.0,
        ("caa", "distinct_2"): 8.0,
    }
    (words,) = collapse_words(analysis.collapses)
    assert "collapses from strength 4 on: perplexity is " in words
    assert "(× 2." in words
    assert "while toxicity is " in words


def test_few_items_that_differ_by_chance_do_not_collapse(tmp_path: Path) -> None:
    """One of two informative answers lost is half, and no evidence."""
    task = FakeTask(
        "open", "true", n_validation=0, n_test=4, share=lambda m, s: 0.5,
        beside=(
            FakeTask(
                "info", "informative", n_validation=0, n_test=4,
                share=lambda m, s: 0.5 if m == "none" else 0.0,
            ),
        ),
    )  # fmt: skip
    run = FakeRun((FakeMethod("caa", (1.0, 2.0)),), (task,), fit_seeds=(0,), select=None)
    analysis = analyse(write_run(run, tmp_path / "run"))
    assert begins(analysis) == {("caa", "informative"): None}


def test_infinite_perplexities_have_collapsed(tmp_path: Path) -> None:
    run = texts_run(lambda s: {1: 0.0, 2: 0.0, 4: 1.0, 8: 1.0}[s], lambda s: 0.0)

    def broken(cell: dict[str, Any], values: Any) -> Any:
        infinite = cell["strength"] == 8.0 and values.max() > 20
        return np.where(np.arange(len(values)) == 3, np.inf, values) if infinite else values

    result = FakeRun(**{**vars(run), "value": broken})
    analysis = analyse(write_run(result, tmp_path / "run"))
    assert begins(analysis)["caa", "perplexity"] == 4.0


@pytest.mark.slow
def test_the_figure_shows_all_metrics_of_all_methods(judged: Analysis) -> None:
    picture = collapse_plot(judged.responses, judged.collapses, "none")
    assert isinstance(picture, Picture)
    for name in ("true ↑", "informative ↑", "true_informative ↑", "odesteer", "caa"):
        assert name in picture.svg
    assert re.search(r"informative: odesteer \(layer 14\): 89\.\d.* 9\.3 ± [\d.]+ at 25", (
        picture.alternative
    ))  # fmt: skip
    # two metrics do not collapse, and caa does not: one panel of six is shaded
    shaded = collapse_plot(judged.responses, (), "none")
    assert isinstance(shaded, Picture)
    assert picture.svg.count("#d55e00") == 2
    assert "#d55e00" not in shaded.svg


def test_a_task_without_companions_has_no_figure(tmp_path: Path) -> None:
    run = FakeRun((FakeMethod("caa", (1.0, 2.0)),), (FakeTask("truth", n_test=30),), fit_seeds=(0,))
    analysis = analyse(write_run(run, tmp_path / "run"))
    assert analysis.collapses == ()
    result = collapse_plot(analysis.responses, (), "none")
    assert isinstance(result, Absence)
    assert result.reason == "the task has no metric that shows collapse"


def metrics(*names: str) -> list[Metric]:
    lower = ("perplexity", "fluency", "toxicity")
    kinds = {"perplexity": "ratio", "fluency": "ratio"}
    return [Metric(name, kinds.get(name, "bounded"), name not in lower) for name in names]


@pytest.mark.parametrize(
    ("primary", "names", "shown", "beside"),
    [
        ("acc", ["acc"], ["acc"], []),
        (
            "toxicity",
            ["toxicity", "toxic", "distinct_1", "distinct_2", "perplexity"],
            ["toxicity", "perplexity", "distinct_2"],
            ["distinct_1", "distinct_2", "perplexity"],
        ),
        (
            "true_informative",
            ["true_informative", "true", "informative", "distinct_2", "perplexity"],
            ["true", "informative", "true_informative", "perplexity"],
            ["informative", "distinct_2", "perplexity"],
        ),
        ("perplexity", ["perplexity", "distinct_2"], ["perplexity", "distinct_2"], ["distinct_2"]),
    ],
)
def test_metrics_shown_with_the_target(
    primary: str, names: list[str], shown: list[str], beside: list[str]
) -> None:
    task = Task("t", "target", None, primary, None, {})
    assert side_by_side(task, metrics(*names)) == shown
    assert [metric.name for metric in companions(task, metrics(*names))] == beside
    assert target_metric(task, metrics(*names)) == shown[0]
