"""Intervals where hardly anything varies, few clusters, skewed items: what a report rests on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from steereval.results.analysis.verdicts import INCONCLUSIVE, detectable_effect, judge
from steereval.results.stats import (
    Effect,
    Guard,
    crossed_effect,
    crossed_estimates,
    non_inferiority,
)
from steereval.results.stats.cautions import (
    FEW_CARRIERS,
    FEW_CLUSTERS,
    FEW_DIFFER,
    FITS_DISAGREE,
    NO_VARIATION,
    ONE_ITEM,
    OUT_OF_REACH,
    SKEWED,
)
from steereval.results.stats.clusters import effective_clusters
from steereval.results.stats.skewness import corrected, half_widths, restored, two_sided_p
from steereval.results.store.manifest import Metric, Task

BINARY = Guard(-1.0, 1.0, is_binary=True)
BOUNDED = Guard(-1.0, 1.0)
FREE = Guard()
KINDS = {"binary": BINARY, "bounded": BOUNDED, "continuous": FREE}
SEEDS = (1, 3, 5)


def width(effect: Effect) -> float:
    return effect.high - effect.low


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("kind", ["binary", "bounded"])
def test_five_items_at_the_floor_prove_nothing(kind: str, seeds: int) -> None:
    effect = crossed_effect(np.zeros((5, seeds)), guard=KINDS[kind])
    assert non_inferiority(effect, 0.02).verdict == INCONCLUSIVE
    assert effect.p_value == 1.0


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.3])
@pytest.mark.parametrize("n", [2, 25, 199, 200, 817])
@pytest.mark.parametrize("kind", KINDS)
def test_constant_differences_have_an_interval(kind: str, n: int, value: float, seeds: int) -> None:
    effect = crossed_effect(np.full((n, seeds), value), guard=KINDS[kind])
    assert width(effect) > 0.0
    if kind == "continuous":
        assert effect.marks == (NO_VARIATION,)
        assert (effect.p_value, math.isinf(effect.se)) == (1.0, True)
    else:
        assert -1.0 <= effect.low <= value <= effect.high <= 1.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_seeds_that_agree_do_not_widen(value: float) -> None:
    widths = [width(crossed_effect(np.full((25, s), value), guard=BINARY)) for s in SEEDS]
    assert widths == pytest.approx([widths[0]] * len(SEEDS))


def test_a_proportion_that_is_always_right_has_about_the_exact_interval() -> None:
    """Clopper and Pearson: 25 of 25 have [0.863, 1]."""
    effect = crossed_effect(np.ones((25, 3)), guard=BINARY)
    assert effect.low == pytest.approx(0.863, abs=0.03)
    assert effect.high == 1.0


def test_clusters_that_are_all_alike_count_as_single_observations() -> None:
    alone = crossed_effect(np.ones((100, 3)), guard=BINARY)
    clustered = crossed_effect(np.ones((100, 3)), np.arange(100) // 10, guard=BINARY)
    assert width(clustered) > 3 * width(alone)


def test_nothing_jumps_at_200_items() -> None:
    few, many = (crossed_effect(np.zeros((n, 1)), guard=BINARY) for n in (199, 200))
    assert width(many) == pytest.approx(width(few), rel=0.02)


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(2, 12), st.integers(1, 4)),
        elements=st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1.0, 1.0),
    ),
    st.sampled_from(list(KINDS.values())),
    st.booleans(),
)
def test_no_number_is_missing(diff: np.ndarray, guard: Guard, clustered: bool) -> None:
    clusters = np.arange(len(diff)) // 2 if clustered and len(diff) > 2 else None
    for given_guard in (guard, None):
        effect = crossed_effect(diff, clusters, resamples=0, guard=given_guard)
        numbers = [value for value in vars(effect).values() if isinstance(value, float)]
        assert not any(math.isnan(value) for value in numbers)
        assert 0.0 <= effect.p_value <= effect.p_robust <= 1.0
        assert effect.low <= effect.estimate + 1e-12
        assert effect.estimate <= effect.high + 1e-12


@given(
    arrays.arrays(np.float64, (9, 3), elements=st.floats(-1.0, 1.0, width=16)),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_the_interval_leaves_out_0_just_where_the_test_rejects(
    diff: np.ndarray, confidence: float
) -> None:
    effect = crossed_effect(diff, confidence=confidence, guard=FREE)
    rejected = effect.p_value < 1.0 - confidence
    if abs(effect.p_value - (1.0 - confidence)) > 1e-9 and math.isfinite(effect.se):
        assert rejected == (effect.low > 0.0 or effect.high < 0.0)


def test_equal_means_of_all_items_give_no_nan() -> None:
    effect = crossed_effect(np.tile([[1.0, -1.0]], (20, 1)))
    assert (effect.estimate, effect.p_value, effect.p_robust) == (0.0, 1.0, 1.0)
    stack = np.tile([[1.0, -1.0]], (2, 20, 1)) + np.array([0.0, 0.5])[:, None, None]
    assert not np.isnan(crossed_estimates(stack).p_robust).any()


@pytest.mark.parametrize("groups", [4, 5, 6])
def test_what_no_pattern_of_signs_could_show_is_not_claimed(groups: int) -> None:
    """One seed: with five clusters 2^-4 = 0.0625 is the least p-value."""
    draw = np.random.default_rng(0)
    diff = 0.499 + 0.001 * draw.normal(size=(20 * groups, 1))
    effect = crossed_effect(diff, np.arange(len(diff)) // 20, guard=BOUNDED)
    metric = Metric("mc2", "bounded", True)
    task = Task("t", "target", None, "mc2", None, {"mc2": metric})
    word = judge(effect, effect.p_value, metric, task, 0.05).word
    if groups < 6:
        assert effect.p_value == 2.0 ** (1 - groups)
        assert (effect.low, effect.high) == (-1.0, 1.0)
        assert OUT_OF_REACH in effect.cautions
        assert detectable_effect(effect, metric) == math.inf
        assert word == INCONCLUSIVE
    else:
        assert effect.p_value < 0.05
        assert effect.low > 0.0
        assert word == "better"


@pytest.mark.slow
def test_what_is_not_significant_is_not_more_than_the_design_detects() -> None:
    draw, metric = np.random.default_rng(1), Metric("mc2", "bounded", True)
    for seeds in (1, 3):
        for _ in range(200):
            diff = 0.1 + 0.2 * draw.standard_exponential((12, 1)) * draw.normal(size=(12, seeds))
            effect = crossed_effect(diff.clip(-1, 1), guard=BOUNDED)
            if effect.p_value >= 0.05:
                assert abs(effect.estimate) <= detectable_effect(effect, metric)


@pytest.mark.parametrize("kind", ["binary", "bounded"])
def test_nothing_is_detectable_beyond_the_scale(kind: str) -> None:
    effect = crossed_effect(np.array([[1.0], [-1.0], [0.0]]), guard=KINDS[kind])
    assert detectable_effect(effect, Metric("acc", kind, True)) == math.inf


def test_uneven_clusters_have_fewer_degrees_of_freedom() -> None:
    assert effective_clusters(np.repeat(np.arange(40), 20)) == pytest.approx(40.0)
    uneven = np.repeat(np.arange(31), (320, *[16] * 30))
    assert effective_clusters(uneven) == pytest.approx(5.814, abs=1e-3)
    effect = crossed_effect(np.random.default_rng(0).normal(size=(800, 1)), uneven, guard=FREE)
    assert effect.df == pytest.approx(4.814, abs=1e-3)
    assert FEW_CLUSTERS in effect.cautions


@given(st.floats(-6.0, 6.0), st.floats(-0.9, 0.9))
def test_the_skewness_correction_is_undone(statistic: float, skewness: float) -> None:
    value = corrected(statistic, skewness)
    assert restored(value, skewness) == pytest.approx(statistic, abs=1e-6)


@given(st.floats(-0.9, 0.9), st.floats(2.0, 50.0))
def test_interval_and_p_value_are_one_test(skewness: float, df: float) -> None:
    below, above = half_widths(0.95, skewness, df)
    for ratio, edge in ((1.0, below), (-1.0, above)):
        assert two_sided_p(ratio * edge * 1.001, skewness, df) < 0.05
        assert two_sided_p(ratio * edge * 0.999, skewness, df) > 0.05


def test_a_few_items_that_make_the_difference_are_named() -> None:
    draw = np.random.default_rng(2)
    diff = 0.01 * draw.normal(size=(300, 1)) + 0.01 * draw.normal(size=(300, 3))
    assert crossed_effect(diff, guard=FREE).cautions == ()
    diff[:3] += 0.9
    assert FEW_CARRIERS in crossed_effect(diff, guard=FREE).cautions


def test_few_binary_items_that_differ_are_named() -> None:
    for number, marks in ((24, (FEW_DIFFER,)), (25, ())):
        diff = np.zeros((400, 3))
        diff[:number] = 1.0
        assert crossed_effect(diff, guard=BINARY).cautions == marks


@pytest.mark.parametrize("seeds", [3, 5])
def test_fits_that_agree_little_on_the_items_are_named(seeds: int) -> None:
    """The mean square of items is 1 + `seeds` × 0.3 (or × 0.8) times the residual's."""
    draw = np.random.default_rng(5)
    apart, together = draw.normal(size=(2000, seeds)), draw.normal(size=(2000, 1))
    for ratio, marks in ((2.0, (FITS_DISAGREE,)), (3.0, ())):
        diff = apart + np.sqrt((ratio - 1.0) / seeds) * together
        assert crossed_effect(diff, guard=FREE).cautions == marks


def test_clusters_count_where_fits_are_held_to_agree() -> None:
    draw = np.random.default_rng(6)
    diff = draw.normal(size=(1000, 3)) + 0.4 * draw.normal(size=(100, 1)).repeat(10, axis=0)
    assert FITS_DISAGREE in crossed_effect(diff, guard=FREE).cautions
    assert FITS_DISAGREE not in crossed_effect(diff, np.arange(1000) // 10, guard=FREE).cautions


def test_skewed_items_are_named() -> None:
    """A fifth of 60 items jumps: many carry the difference, and the estimate is skewed all the
    same."""
    diff = np.full((60, 3), -0.15)
    diff[:12] = 0.6
    diff = diff + 0.01 * np.random.default_rng(7).normal(size=diff.shape)
    assert crossed_effect(diff, guard=BOUNDED).cautions == (SKEWED,)
    assert crossed_effect(np.tile(diff, (4, 1)), guard=BOUNDED).cautions == ()


def test_one_more_item_that_could_overturn_it_is_named() -> None:
    """37 items that differ by a hundredth: an item that jumps by 1 moves the mean by 2.7."""
    diff = 0.01 * np.random.default_rng(3).normal(size=(37, 3))
    small = crossed_effect(diff, guard=BOUNDED)
    assert ONE_ITEM in small.cautions
    assert ONE_ITEM not in crossed_effect(20 * diff, guard=BOUNDED).cautions


def test_margins_mind_the_skewness() -> None:
    """A long tail towards the losses: fewer claims of no harm than by the plain t."""
    draw = np.random.default_rng(4)
    diff = 0.05 - 0.05 * draw.standard_exponential((40, 1))
    effect = crossed_effect(diff, guard=FREE)
    plain = replace(effect, skewness=0.0)
    assert non_inferiority(effect, 0.02).p_value > non_inferiority(plain, 0.02).p_value
