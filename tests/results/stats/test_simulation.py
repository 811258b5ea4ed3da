"""Size, coverage and power of the estimators in simulated experiments, and an oracle for the SE.

Sizes must lie within 0.03 and 0.07 at a nominal 0.05. With 1500 draws the binomial standard error
is 0.0056, so a calibrated test leaves that range once in some two thousand runs; seeds are fixed.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from steereval.results import stats

pytestmark = pytest.mark.slow

DRAWS = 1500


def crossed_draw(
    rng: np.random.Generator, n: int, seeds: int, item: float, seed: float, noise: float
) -> npt.NDArray[np.float64]:
    return (
        rng.normal(0, item, (n, 1))
        + rng.normal(0, seed, (1, seeds))
        + rng.normal(0, noise, (n, seeds))
    )


@pytest.mark.parametrize(
    ("n", "seeds", "seed_sd"),
    [(800, 5, 0.02), (800, 3, 0.02), (800, 3, 0.05), (200, 5, 0.0), (40, 10, 0.1)],
)
def test_size_and_coverage_of_the_crossed_estimator(n: int, seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(np.random.SeedSequence([n, seeds]))
    effects = [
        stats.crossed_effect(crossed_draw(rng, n, seeds, 0.3, seed_sd, 0.3)) for _ in range(DRAWS)
    ]
    size = np.mean([e.p_value < 0.05 for e in effects])
    coverage = np.mean([e.low <= 0 <= e.high for e in effects])
    assert 0.03 <= size <= 0.07
    assert 0.93 <= coverage <= 0.97


def test_size_where_each_fold_and_seed_is_a_fit_of_its_own() -> None:
    rng = np.random.default_rng(11)
    folds = np.arange(800) % 2
    rejected = 0
    for _ in range(DRAWS):
        fits = rng.normal(0, 0.05, (2, 3))
        matrix = crossed_draw(rng, 800, 3, 0.3, 0.0, 0.3) + fits[folds]
        rejected += stats.crossed_effect(matrix, folds=folds).p_value < 0.05
    assert 0.03 <= rejected / DRAWS <= 0.07


def test_size_with_clusters_and_seeds() -> None:
    rng = np.random.default_rng(12)
    clusters = np.arange(600) % 60
    rejected = 0
    for _ in range(DRAWS):
        matrix = crossed_draw(rng, 600, 5, 0.2, 0.02, 0.3) + rng.normal(0, 0.15, (60, 1))[clusters]
        rejected += stats.crossed_effect(matrix, clusters=clusters).p_value < 0.05
    assert 0.03 <= rejected / DRAWS <= 0.07


def test_size_of_sign_flips_over_very_unequal_clusters() -> None:
    rng = np.random.default_rng(13)
    sizes = np.round(100 * 0.88 ** np.arange(38) + 1).astype(int)
    clusters = np.repeat(np.arange(38), sizes)
    draws, rejected, naive = 500, 0, 0
    for draw in range(draws):
        values = rng.normal(0, 0.15, 38)[clusters] + rng.normal(0, 0.4, len(clusters))
        rejected += stats.cluster_sign_flip(values, clusters, 400, draw) < 0.05
        naive += stats.crossed_effect(values).p_value < 0.05
    assert 0.02 <= rejected / draws <= 0.07
    assert naive / draws > 0.15, "items as if independent: the test must see the difference"


def test_size_of_mid_p_and_coverage_of_bonett_price() -> None:
    rng = np.random.default_rng(14)
    n, share = 60, 0.3
    counts = rng.multinomial(n, [share / 2, share / 2, 1 - share], size=DRAWS)
    p_values = [stats.mcnemar_midp(int(b), int(c)) for b, c, _ in counts]
    assert np.mean(np.array(p_values) < 0.05) <= 0.07
    intervals = [stats.paired_proportion_ci(int(b), int(c), n) for b, c, _ in counts]
    assert 0.93 <= np.mean([low <= 0 <= high for _, low, high in intervals]) <= 0.98


@pytest.mark.parametrize("p", [0.02, 0.3])
def test_exact_intervals_cover_at_least_as_they_say(p: float) -> None:
    from scipy import stats as scipy_stats

    n = 25
    mass = scipy_stats.binom.pmf(np.arange(n + 1), n, p)
    intervals = [stats.clopper_pearson(k, n) for k in range(n + 1)]
    assert sum(m for m, (low, high) in zip(mass, intervals, strict=True) if low <= p <= high) > 0.95


def test_size_of_the_log_ratio() -> None:
    rng = np.random.default_rng(15)
    rejected = 0
    for _ in range(DRAWS):
        tokens = rng.integers(5, 60, (150, 1)).astype(float)
        base = tokens * 3 + rng.normal(0, 1, (150, 1)) * np.sqrt(tokens)
        method = base + rng.normal(0, 0.02, (1, 4)) * tokens + rng.normal(0, 2, (150, 4))
        effect = stats.ratio_effect(method, np.repeat(base, 4, 1), np.repeat(tokens, 4, 1))
        rejected += effect.p_value < 0.05
    assert 0.03 <= rejected / DRAWS <= 0.07


def test_the_detectable_effect_is_detected_as_often_as_it_says() -> None:
    rng = np.random.default_rng(16)
    mde = stats.minimum_detectable_effect(0.09, 0.0004, 0.09, 300, 8)
    draws = [
        stats.crossed_effect(crossed_draw(rng, 300, 8, 0.3, 0.02, 0.3) + mde).p_value < 0.05
        for _ in range(DRAWS)
    ]
    assert 0.76 <= np.mean(draws) <= 0.84


def test_mixedlm_gives_the_same_standard_error() -> None:
    rng = np.random.default_rng(3)
    n, seeds = 30, 5
    matrix = 0.2 + crossed_draw(rng, n, seeds, 0.5, 0.3, 0.4)
    frame = pd.DataFrame(
        {
            "y": matrix.ravel(),
            "item": np.repeat(np.arange(n), seeds),
            "seed": np.tile(np.arange(seeds), n),
            "all": 1,
        }
    )
    model = MixedLM.from_formula(
        "y ~ 1",
        groups="all",
        re_formula="0",
        vc_formula={"item": "0 + C(item)", "seed": "0 + C(seed)"},
        data=frame,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit(reml=True)
    effect = stats.crossed_effect(matrix)
    assert effect.estimate == pytest.approx(float(fitted.fe_params.iloc[0]), rel=1e-6)
    assert effect.se == pytest.approx(float(fitted.bse_fe.iloc[0]), rel=1e-3)
