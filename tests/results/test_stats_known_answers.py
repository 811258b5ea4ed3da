"""Figures from the literature that the statistics must reproduce."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

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
    expected = exact - scipy_stats.binom.pmf(86, 236, 0.5)
    assert stats.mcnemar_midp(150, 86) == pytest.approx(expected, rel=1e-12)
    assert stats.mcnemar_midp(86, 150) == stats.mcnemar_midp(150, 86)


@pytest.mark.parametrize(("share", "points"), [(0.1, 3.1), (0.2, 4.4)])
def test_mde_of_one_binary_run_on_817_items(share: float, points: float) -> None:
    mde = stats.minimum_detectable_effect(share, 0.0, 0.0, 817, 1)
    assert 100 * mde == pytest.approx(points, abs=0.05)


@pytest.mark.parametrize(("samples", "n"), [(1, 3876), (10, 1260)])
def test_mde_agrees_with_the_planning_of_miller_2024(samples: int, n: int) -> None:
    """ω² = 1/9 between items, σ² = 1/6 for each of two models: n items detect 0.03.

    He plans with normal quantiles; the crossed t has 147 degrees of freedom with ten samples, which
    asks for 0.65 % more.
    """
    mde = stats.minimum_detectable_effect(1 / 9, 0.0, 2 / 6, n, samples)
    assert mde == pytest.approx(0.03, rel=7e-3)
    assert mde >= 0.03


def test_mde_without_sampling_noise_agrees_with_miller_2024() -> None:
    assert stats.minimum_detectable_effect(1 / 9, 0.0, 0.0, 969, 1) == pytest.approx(0.03, rel=2e-3)


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
