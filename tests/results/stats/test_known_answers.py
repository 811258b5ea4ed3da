"""Figures from the literature that the statistics must reproduce."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats import contingency_tables, weightstats

from steereval.results import stats

MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
BENJAMINI_HOCHBERG = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
]


def test_darwins_maize_by_t() -> None:
    effect = stats.crossed_effect(np.array(MAIZE, float)[:, None])
    assert effect.estimate / effect.se == pytest.approx(2.14799, abs=5e-6)
    assert effect.p_value == pytest.approx(0.049703, abs=5e-7)
    assert effect.df == 14
    assert effect.caution == "conditional on one seed"


def test_darwins_maize_by_exact_sign_flip() -> None:
    p_value = stats.cluster_sign_flip(MAIZE, np.arange(15), resamples=10, seed=0)
    assert p_value == pytest.approx(1726 / 32768, abs=1e-12)


def test_darwins_maize_by_wilcoxon() -> None:
    """Not a test of this program: it shows that the rows are the published ones."""
    assert scipy_stats.wilcoxon(MAIZE).pvalue == pytest.approx(0.04126, abs=5e-6)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilson_of_newcombe(successes: int, n: int, low: float, high: float) -> None:
    assert stats.wilson(successes, n) == (
        pytest.approx(low, abs=5e-5),
        pytest.approx(high, abs=5e-5),
    )


def test_clopper_pearson_of_newcombe() -> None:
    low, high = stats.clopper_pearson(81, 263)
    assert (low, high) == (pytest.approx(0.2527, abs=5e-5), pytest.approx(0.3676, abs=5e-5))
    assert stats.clopper_pearson(0, 20)[0] == 0.0
    assert stats.clopper_pearson(20, 20)[1] == 1.0


def test_benjamini_and_hochberg_1995() -> None:
    assert int(np.sum(stats.adjust(BENJAMINI_HOCHBERG, "bh") <= 0.05)) == 4
    assert int(np.sum(stats.adjust(BENJAMINI_HOCHBERG, "holm") <= 0.05)) == 3


def test_agrestis_table_lies_between_the_exact_p_and_its_half() -> None:
    """794/150/86/570: the exact p is 3.716e-5; the mid-p leaves out half of the point's mass."""
    exact = 2 * scipy_stats.binom.cdf(86, 236, 0.5)
    assert exact == pytest.approx(3.716e-5, rel=1e-3)
    assert contingency_tables.mcnemar([[794, 86], [150, 570]], exact=True).pvalue == pytest.approx(
        exact
    )
    # 17.356 is McNemar's score statistic, which the midpoint of b and c gives
    assert pytest.approx(17.356, abs=5e-4) == (150 - 86) ** 2 / (150 + 86)
    expected = exact - scipy_stats.binom.pmf(86, 236, 0.5)
    assert stats.mcnemar_midp(150, 86) == pytest.approx(expected, rel=1e-12)
    assert stats.mcnemar_midp(86, 150) == stats.mcnemar_midp(150, 86)


@pytest.mark.parametrize(("share", "points"), [(0.1, 3.1), (0.2, 4.4)])
def test_mde_of_one_binary_run_on_817_items(share: float, points: float) -> None:
    mde = stats.minimum_detectable_effect(share, 0.0, 0.0, 817, 1)
    assert 100 * mde == pytest.approx(points, abs=0.05)


@pytest.mark.parametrize(
    ("variance", "n"), [(1 / 9 + 2 / 6, 3876), (1 / 9 + 2 / 60, 1260), (1 / 9, 969)]
)
def test_items_needed_agree_with_the_planning_of_miller_2024(variance: float, n: int) -> None:
    """ω² = 1/9 between items, σ² = 1/6 for each of two models; one sample, ten, and the limit."""
    assert stats.normal_items(variance, 0.03) == n
    by_t = stats.least_items(0.03, stats.Variances(variance, 0.0, 0.0), 1)
    assert by_t is not None
    assert n < by_t <= n + 4
    assert stats.minimum_detectable_effect(variance, 0.0, 0.0, by_t, 1) <= 0.03
    assert stats.minimum_detectable_effect(variance, 0.0, 0.0, by_t - 1, 1) > 0.03


def test_bonett_and_price_by_hand() -> None:
    """b = 3, c = 1, n = 8: p12 = .4, p21 = .2, so .2 ± 1.96 √((.6 - .04)/10)."""
    difference, low, high = stats.paired_proportion_ci(3, 1, 8)
    assert difference == 0.25
    half = 1.959964 * np.sqrt(0.056)
    assert (low, high) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))


def test_partial_conjunction_by_hand() -> None:
    assert stats.partial_conjunction([0.04, 0.01, 0.5]) == pytest.approx([0.03, 0.08, 0.5])


def test_ratio_effect_by_hand() -> None:
    """Same texts: Δ = 3/10, r = nll_a - nll_b - Δ t, SE = √(n/(n-1) Σ r²)/Σ t."""
    effect = stats.ratio_effect([3.0, 5.0, 6.0], [2.0, 4.0, 5.0], [2.0, 3.0, 5.0])
    residuals = np.array([1 - 0.6, 1 - 0.9, 1 - 1.5])
    assert effect.estimate == pytest.approx(0.3)
    assert effect.se == pytest.approx(np.sqrt(1.5 * np.sum(residuals**2)) / 10)


def test_ratio_effect_of_different_texts_by_hand() -> None:
    a, t_a = np.array([3.0, 5.0, 6.0]), np.array([2.0, 3.0, 5.0])
    b, t_b = np.array([2.0, 4.0, 4.0]), np.array([1.0, 3.0, 4.0])
    effect = stats.ratio_effect(a, b, t_a, t_b)
    rate_a, rate_b = 14 / 10, 10 / 8
    residuals = (a - rate_a * t_a) / t_a.mean() - (b - rate_b * t_b) / t_b.mean()
    assert effect.estimate == pytest.approx(rate_a - rate_b)
    assert effect.se == pytest.approx(np.std(residuals, ddof=1) / np.sqrt(3))


def test_rank_intervals_by_hand() -> None:
    p = np.ones((3, 3))
    p[0, 2] = p[2, 0] = 0.01
    assert stats.rank_intervals([0.9, 0.8, 0.1], p) == [(1, 2), (1, 3), (2, 3)]


DEMSAR = [
    *([0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967]),
    *([0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931]),
    *([0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875]),
    *([1.0, 1.0, 1.0, 1.0], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669]),
    *([0.972, 0.981, 0.97501, 0.975], [0.957, 0.978, 0.946, 0.970]),
]
"""Table 6 of Demšar 2006: C4.5, +m, +cf, +m+cf on 14 data sets."""


def test_friedman_and_nemenyi_of_demsar_2006() -> None:
    friedman = stats.friedman(DEMSAR)
    assert friedman.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert friedman.chi_square == pytest.approx(9.28, abs=5e-3)
    assert friedman.f_statistic == pytest.approx(3.69, abs=5e-3)
    assert friedman.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert friedman.p_value < 0.05


@pytest.mark.parametrize(("last", "chi_square"), [(0.97501, 10.228), (0.975, 10.952)])
def test_ties_are_corrected_for_as_by_scipy(last: float, chi_square: float) -> None:
    rows = np.array(DEMSAR)
    rows[12, 2] = last
    friedman = stats.friedman(rows).chi_square_ties
    assert friedman == pytest.approx(chi_square, abs=5e-4)
    assert friedman == pytest.approx(scipy_stats.friedmanchisquare(*rows.T).statistic)


def test_equivalence_is_that_of_statsmodels() -> None:
    x = np.random.default_rng(0).normal(0.1, 1.0, 60)
    p, (_, p_low, _), _ = weightstats.DescrStatsW(x).ttost_mean(-0.4, 0.4)
    effect = stats.non_inferiority(stats.crossed_effect(x), 0.4)
    assert effect.p_value == pytest.approx(p_low)
    assert effect.p_equivalent == pytest.approx(p)


def test_interquartile_mean_by_hand() -> None:
    assert stats.interquartile_mean([[0.0, 1.0, 2.0, 90.0], [3.0, 4.0, 5.0, -70.0]]) == 2.5


def test_probability_of_improvement_by_hand() -> None:
    """Task one: 3 of 4 pairs; task two: one tie and one loss of two pairs a seed, 1/4."""
    scores, baseline = [[1.0, 3.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 2.0]]
    assert stats.probability_of_improvement(scores, baseline) == pytest.approx((3 / 4 + 1 / 4) / 2)
