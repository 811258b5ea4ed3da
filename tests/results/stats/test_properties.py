"""Laws that the estimators obey whatever the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.multitest import multipletests

from steereval.common.errors import InputError, UnknownNameError
from steereval.results import stats

Floats = npt.NDArray[np.float64]

law = settings(deadline=None, max_examples=60)
"""No deadline: a busy machine is no failure."""

SHAPES = st.tuples(st.integers(2, 12), st.integers(1, 5))
VALUES = st.floats(-100, 100).map(lambda x: round(x, 3))
MATRICES = hnp.arrays(np.float64, SHAPES, elements=VALUES)
P_VALUES = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1))


def numbers(effect: stats.Effect) -> list[float]:
    values = dataclasses.asdict(effect)
    return [v for v in values.values() if isinstance(v, float)]


@given(MATRICES)
@law
def test_the_order_of_items_and_seeds_does_not_matter(matrix: Floats) -> None:
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(rng.permutation(matrix, axis=0), axis=1)
    expected = numbers(stats.crossed_effect(matrix))
    assert numbers(stats.crossed_effect(shuffled)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(MATRICES, st.sampled_from([0.125, 8.0, -2.0]))
@law
def test_scaling_scales_and_leaves_the_p_value(matrix: Floats, factor: float) -> None:
    effect, scaled = stats.crossed_effect(matrix), stats.crossed_effect(factor * matrix)
    assert scaled.estimate == pytest.approx(factor * effect.estimate, abs=1e-12)
    assert scaled.se == pytest.approx(abs(factor) * effect.se)
    assert scaled.p_value == pytest.approx(effect.p_value, rel=1e-6)
    assert scaled.var_seed == pytest.approx(factor**2 * effect.var_seed, abs=1e-9)


@given(MATRICES, st.integers(-50, 50))
@law
def test_translation_moves_the_interval_only(matrix: Floats, shift: int) -> None:
    effect, moved = stats.crossed_effect(matrix), stats.crossed_effect(matrix + shift)
    assert moved.estimate == pytest.approx(effect.estimate + shift, abs=1e-9)
    assert moved.low == pytest.approx(effect.low + shift, rel=1e-6, abs=1e-6)
    assert moved.se == pytest.approx(effect.se, rel=1e-6, abs=1e-9)


@given(MATRICES)
@law
def test_swapping_the_arms_mirrors_everything(matrix: Floats) -> None:
    effect, mirrored = stats.crossed_effect(matrix), stats.crossed_effect(-matrix)
    assert (mirrored.low, mirrored.high) == pytest.approx((-effect.high, -effect.low))
    assert mirrored.p_value == effect.p_value


@given(MATRICES)
@law
def test_singleton_clusters_and_one_fold_change_nothing_but_the_test(matrix: Floats) -> None:
    n = len(matrix)
    plain = stats.crossed_effect(matrix)
    other = stats.crossed_effect(matrix, clusters=np.arange(n), folds=np.zeros(n, int))
    assert other.se == pytest.approx(plain.se, rel=1e-9)
    assert other.df == pytest.approx(plain.df, rel=1e-9)
    assert (other.test == plain.test) == (matrix.shape[1] > 1)


@given(MATRICES)
@law
def test_the_interval_and_the_t_test_agree(matrix: Floats) -> None:
    effect = stats.crossed_effect(matrix)
    excludes = effect.low > 0 or effect.high < 0
    if effect.se > 0 and abs(effect.p_value - 0.05) > 1e-6:
        assert excludes == (effect.p_value < 0.05)
    assert effect.low <= effect.estimate <= effect.high


@given(P_VALUES, st.sampled_from(["holm", "bonferroni", "hochberg", "bh", "by"]))
@law
def test_adjusting_never_lowers_and_keeps_the_order(p_values: Floats, method: str) -> None:
    adjusted = stats.adjust(p_values, method)
    assert np.all(adjusted >= p_values - 1e-15)
    assert np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p_values)]) >= -1e-12)


@given(P_VALUES)
@settings(deadline=None, max_examples=15)
def test_adjusted_p_values_are_those_of_statsmodels(p_values: Floats) -> None:
    names = {
        "holm": "holm",
        "bonferroni": "bonferroni",
        "hochberg": "simes-hochberg",
        "bh": "fdr_bh",
        "by": "fdr_by",
    }
    for ours, theirs in names.items():
        expected = multipletests(p_values, method=theirs)[1]
        assert stats.adjust(p_values, ours) == pytest.approx(expected)


@given(P_VALUES)
@law
def test_partial_conjunction_grows_with_the_claim_and_starts_at_bonferroni(p: Floats) -> None:
    claims = stats.partial_conjunction(p)
    assert np.all(np.diff(claims) >= 0)
    assert claims[0] == pytest.approx(min(1.0, len(p) * p.min()))
    assert claims[-1] >= p.max() - 1e-15


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
@law
def test_paired_proportions_mirror_and_stay_in_range(b: int, c: int, rest: int) -> None:
    n = b + c + rest
    if n == 0:
        return
    for method in ("bonett-price", "t"):
        difference, low, high = stats.paired_proportion_ci(b, c, n, method)
        assert -1 <= low <= difference <= high <= 1
        mirrored = stats.paired_proportion_ci(c, b, n, method)
        assert mirrored == pytest.approx((-difference, -high, -low))
    assert 0 < stats.mcnemar_midp(b, c) <= 1
    assert stats.mcnemar_midp(b, b) == pytest.approx(1.0)


@given(st.integers(0, 40), st.integers(1, 40))
@law
def test_single_proportions_lie_in_their_intervals(successes: int, n: int) -> None:
    successes = min(successes, n)
    for interval in (stats.wilson, stats.clopper_pearson, stats.proportion_interval):
        low, high = interval(successes, n)
        assert 0 <= low <= successes / n <= high <= 1


@given(MATRICES, st.floats(0.01, 50))
@law
def test_equivalence_implies_non_inferiority(matrix: Floats, margin: float) -> None:
    effect = stats.crossed_effect(matrix)
    verdict = stats.non_inferiority(effect, margin)
    assert verdict.p_equivalent >= verdict.p_value
    if verdict.verdict == "equivalent":
        assert verdict.non_inferior
        assert verdict.upper < margin
    if effect.se > 0 and abs(verdict.p_value - 0.05) > 1e-9:
        assert (verdict.p_value < 0.05) == verdict.non_inferior


@given(hnp.arrays(np.float64, st.integers(2, 40), elements=VALUES), st.integers(2, 8))
@law
def test_sign_flips_ignore_the_order_of_items_and_the_sign(values: Floats, groups: int) -> None:
    clusters = np.arange(len(values)) % groups
    order = np.random.default_rng(1).permutation(len(values))
    p = stats.cluster_sign_flip(values, clusters, 200, 3)
    assert stats.cluster_sign_flip(values[order], clusters[order], 200, 3) == pytest.approx(p)
    assert stats.cluster_sign_flip(-values, clusters, 200, 3) == pytest.approx(p)


def test_sign_flips_of_many_columns_are_those_of_each_column() -> None:
    rng = np.random.default_rng(0)
    matrix, clusters = rng.normal(size=(200, 3)) + 0.1, rng.integers(0, 38, 200)
    together = stats.sign_flip_p_values(matrix, clusters, 2000, 5)
    alone = [stats.cluster_sign_flip(column, clusters, 2000, 5) for column in matrix.T]
    assert together == pytest.approx(alone)
    assert np.all(together >= 1 / 2001)


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_one_item_says_nothing_about_its_error(n_seeds: int) -> None:
    effect = stats.crossed_effect(np.full((1, n_seeds), 0.5))
    assert (effect.estimate, effect.se, effect.p_value) == (0.5, np.inf, 1.0)
    assert (effect.low, effect.high) == (-np.inf, np.inf)
    assert stats.non_inferiority(effect, 0.1).verdict == "inconclusive"


def test_one_cluster_says_nothing_about_its_error() -> None:
    effect = stats.crossed_effect(np.arange(6.0).reshape(3, 2), clusters=["a", "a", "a"])
    assert (effect.se, effect.p_value, effect.n_clusters) == (np.inf, 1.0, 1)


def test_constant_differences_have_the_p_value_of_their_sign_flips() -> None:
    effect = stats.crossed_effect(np.full((7, 3), 0.1))
    assert (effect.se, effect.p_value) == (0.0, 2.0**-6)
    assert (effect.low, effect.high) == (effect.estimate, effect.estimate)
    one_seed = stats.crossed_effect(np.full((7, 1), 0.1), clusters=np.arange(7))
    assert one_seed.p_value == 2.0**-6


def test_no_difference_has_p_value_one() -> None:
    effect = stats.crossed_effect(np.zeros((7, 3)))
    assert (effect.estimate, effect.se, effect.p_value) == (0.0, 0.0, 1.0)
    assert stats.non_inferiority(effect, 0.01).verdict == "equivalent"
    assert stats.non_inferiority(stats.crossed_effect(np.zeros((2, 1))), 0.01).verdict == (
        "inconclusive"
    )


def test_seeds_that_dominate_give_their_own_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(500, 3)) * 0.01 + np.array([-1.0, 0.0, 1.2])
    effect = stats.crossed_effect(matrix)
    assert effect.df == 2
    assert effect.se == pytest.approx(np.std([-1, 0, 1.2], ddof=1) / np.sqrt(3), rel=0.01)


def test_fits_of_two_folds_count_as_fits() -> None:
    rng = np.random.default_rng(0)
    folds = np.repeat([0, 1], 400)
    fits = rng.normal(size=(2, 4))
    matrix = fits[folds] + rng.normal(size=(800, 4)) * 0.01
    effect = stats.crossed_effect(matrix, folds=folds)
    within = np.mean([np.var(f, ddof=1) for f in fits])
    assert effect.df == pytest.approx(2 * 3)
    assert effect.se == pytest.approx(np.sqrt(within / 8), rel=0.02)


def test_two_seeds_are_marked() -> None:
    effect = stats.crossed_effect(np.random.default_rng(0).normal(size=(9, 2)))
    assert effect.caution == "too few seeds"
    assert stats.crossed_effect(np.random.default_rng(0).normal(size=(9, 3))).caution == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused(bad: float) -> None:
    matrix = np.zeros((3, 2))
    matrix[1, 1] = bad
    with pytest.raises(InputError, match=r"1 value\(s\) that are NaN or infinite, of 6"):
        stats.crossed_effect(matrix)
    with pytest.raises(InputError, match="NaN or infinite"):
        stats.cluster_sign_flip(matrix[:, 1], [0, 1, 2], 10, 0)
    with pytest.raises(InputError, match="NaN or infinite"):
        stats.ratio_effect(matrix, matrix, np.ones((3, 2)))


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="is empty"):
        stats.crossed_effect(np.zeros((0, 3)))
    with pytest.raises(InputError, match="confidence is 95"):
        stats.crossed_effect(np.zeros((3, 3)), confidence=95)
    with pytest.raises(InputError, match="clusters has shape"):
        stats.crossed_effect(np.zeros((3, 3)), clusters=[1, 2])
    with pytest.raises(InputError, match="is not a p-value"):
        stats.adjust([0.1, np.nan], "holm")
    with pytest.raises(UnknownNameError, match="Did you mean 'holm'"):
        stats.adjust([0.1], "hohlm")
    with pytest.raises(InputError, match="not paired counts"):
        stats.paired_proportion_ci(3, 3, 5)
    with pytest.raises(InputError, match="margin is 0"):
        stats.non_inferiority(stats.crossed_effect(np.zeros((3, 3))), 0.0)
    with pytest.raises(InputError, match="no difference"):
        stats.minimum_detectable_effect(-1, 0, 0, 10, 1)
    with pytest.raises(InputError, match="without any token"):
        stats.ratio_effect([1.0], [1.0], [0.0])


@pytest.mark.parametrize("method", ["holm", "bh", "none"])
def test_p_values_of_exactly_zero_and_one_and_no_p_values(method: str) -> None:
    assert list(stats.adjust([0.0, 1.0], method)) == [0.0, 1.0]
    assert stats.adjust([], method).shape == (0,)
    assert stats.partial_conjunction([]).shape == (0,)


def test_bca_is_skewed_like_its_data_and_reproducible() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = stats.bca_interval(values, seed=4)
    assert high - values.mean() > values.mean() - low
    assert (low, high) == stats.bca_interval(values, seed=4)
    assert stats.bca_interval([0.3, 0.3]) == (0.3, 0.3)


def test_mde_falls_with_items_until_the_seeds_bound_it() -> None:
    def mde(n: int, s: int) -> float:
        return stats.minimum_detectable_effect(0.09, 0.0004, 0.09, n, s)

    assert mde(100, 5) > mde(1000, 5) > mde(10_000, 5)
    # the seeds' own t test is a floor: a noncentral t of 4 df and noncentrality 3.7611 exceeds
    # t_.975 with probability 0.8
    floor = 3.7611 * np.sqrt(0.0004 / 5)
    assert mde(10**7, 5) == pytest.approx(floor, rel=3e-3)
    assert stats.minimum_detectable_effect(0.1, 0, 0, 1, 3) == np.inf
