"""Numbers in words: points and factors never mixed, and as many digits as the error deserves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steereval.results.analysis import wording
from steereval.results.analysis.verdicts import judge
from steereval.results.stats import Effect, crossed_effect
from steereval.results.store.manifest import Metric, Task

POINTS = Metric("acc", "binary", True)
LOWER = Metric("toxicity", "bounded", False)
FREE = Metric("reward", "continuous", True)
RATIO = Metric("perplexity", "ratio", False)


def effect(estimate: float, se: float, n: int = 400) -> Effect:
    """An effect of exactly this estimate and standard error over n items of one seed."""
    half = se * np.sqrt(n - 1)
    return crossed_effect(estimate + half * np.tile([-1.0, 1.0], n // 2))


def test_points_are_a_hundred_times_the_score() -> None:
    assert wording.difference(effect(0.021, 0.0153), POINTS) == "+2.1 points [-0.9, +5.1]"
    assert wording.difference(effect(-0.0042, 0.0009), POINTS) == "-0.42 points [-0.60, -0.24]"


def test_free_units_have_two_digits_of_the_error_and_ratios_are_factors() -> None:
    assert wording.difference(effect(1.5, 0.03), FREE) == "+1.500 [+1.441, +1.559]"
    words = wording.difference(effect(math.log(1.08), 0.01), RATIO)
    assert words == "× 1.080 [1.059, 1.101]"


def test_an_inconclusive_verdict_reads_as_the_design_wants_it() -> None:
    task = Task("t", "target", None, "acc", None, {"acc": POINTS})
    verdict = judge(effect(0.021, 0.0153), 0.4, POINTS, task, 0.05)
    assert verdict.sentence == "+2.1 points [-0.9, +5.1]; this design detects 4.3 or more"


@pytest.mark.parametrize(
    ("estimate", "p", "margin", "expected"),
    [
        (0.05, 0.001, None, "better"),
        (0.05, 0.001, 0.01, "better and meaningful"),
        (0.05, 0.001, 0.04, "better"),
        (0.05, 0.20, 0.01, "inconclusive"),
        (-0.05, 0.001, None, "worse"),
        (-0.05, 0.20, None, "inconclusive"),
        (0.001, 0.90, 0.04, "equivalent"),
        (0.001, 0.90, None, "inconclusive"),
    ],
)
@pytest.mark.parametrize("metric", [POINTS, LOWER])
def test_the_vocabulary_for_targets(
    metric: Metric, estimate: float, p: float, margin: float | None, expected: str
) -> None:
    task = Task("t", "target", margin, metric.name, None, {metric.name: metric})
    facing = estimate if metric.higher_is_better else -estimate
    assert judge(effect(facing, 0.01), p, metric, task, 0.05).word == expected


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(0.0, "equivalent"), (0.03, "non-inferior"), (-0.012, "inconclusive"), (-0.06, "worse")],
)
def test_the_vocabulary_for_capabilities(estimate: float, expected: str) -> None:
    task = Task("t", "capability", 0.02, "acc", None, {"acc": POINTS})
    verdict = judge(effect(estimate, 0.01), 1.0, POINTS, task, 0.05)
    assert verdict.word == expected
    assert verdict.p_margin is not None
    assert (verdict.p_margin < 0.05) == (expected in ("equivalent", "non-inferior"))


def test_numbers_that_are_none() -> None:
    assert wording.number(-0.04, 1, True) == "+0.0"
    assert wording.number(math.inf, 1, True) == "+∞"
    assert wording.number(-math.inf, 1) == "-∞"
    assert wording.factor(math.inf) == "∞"
    assert wording.factor(1e3) == "1.0e+304"
    assert wording.p_value(0.0) == "<0.001"
    one = crossed_effect(np.array([[0.5]]))
    assert wording.difference(one, POINTS) == "+50.0 points [-∞, +∞]"
    assert wording.detectable(math.inf, POINTS, one.se) == (
        "this design detects no effect of any size"
    )
