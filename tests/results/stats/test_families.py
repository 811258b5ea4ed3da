"""Several tests together: macro-means, max-T, and p-values far below 5 %."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from steereval.common.errors import InputError
from steereval.results import stats

Floats = npt.NDArray[np.float64]


def crossed(rng: np.random.Generator, shape: tuple[int, int], seed: Floats) -> Floats:
    n, s = shape
    return rng.normal(0, 0.3, (n, 1)) + seed + rng.normal(0, 0.3, (n, s))


def test_the_macro_mean_of_one_task_is_the_crossed_effect() -> None:
    rng = np.random.default_rng(0)
    diff = crossed(rng, (60, 4), rng.normal(0, 0.1, 4)) + 0.1
    clusters = np.arange(60) % 13
    one, macro = stats.crossed_effect(diff, clusters), stats.macro_effect([diff], [clusters])
    for name in ("estimate", "se", "df", "low", "high", "p_value", "p_robust"):
        assert getattr(macro, name) == pytest.approx(getattr(one, name)), name
    for name in ("var_item", "var_seed", "var_residual"):
        assert getattr(macro, name) == pytest.approx(getattr(one, name)), name


@pytest.mark.slow
def test_macro_means_of_tasks_that_share_their_seeds_keep_their_size() -> None:
    """Four tasks moved alike by each fit: summed as if independent the size is far above 5 %."""
    rng = np.random.default_rng(1)
    draws, rejected, naive = 600, 0, 0
    for _ in range(draws):
        seed = rng.normal(0, 0.05, 5)
        diffs = [crossed(rng, (200, 5), seed) for _ in range(4)]
        rejected += stats.macro_effect(diffs).p_value < 0.05
        effects = [stats.crossed_effect(diff) for diff in diffs]
        z = sum(e.estimate for e in effects) / np.sqrt(sum(e.se**2 for e in effects))
        naive += abs(z) > 1.96
    assert 0.03 <= rejected / draws <= 0.07
    assert naive / draws > 0.15


def test_macro_means_weigh_tasks_alike_and_refuse_other_seeds() -> None:
    assert stats.macro_effect([np.full((3, 2), 1.0), np.full((30, 2), 3.0)]).estimate == 2.0
    with pytest.raises(InputError, match=r"\(3, 2\), \(3, 4\)"):
        stats.macro_effect([np.ones((3, 2)), np.ones((3, 4))])
    with pytest.raises(InputError, match="clusters in a task"):
        stats.macro_effect([np.ones((3, 2)), np.ones((1, 2))])


def test_max_t_by_sign_flips_of_one_test_is_the_sign_flip() -> None:
    rng = np.random.default_rng(2)
    column, clusters = rng.normal(0.1, 1, 300), np.arange(300) % 40
    alone = stats.cluster_sign_flip(column, clusters, 20_000, 0)
    (adjusted,) = stats.max_t_sign_flip([(column, clusters)], 20_000, 1)
    assert adjusted == pytest.approx(alone, abs=0.015)


@pytest.mark.parametrize("n_tests", [2, 6])
def test_max_t_lies_between_the_raw_p_and_bonferroni(n_tests: int) -> None:
    """Equal tests cost nothing; independent ones cost what Šidák says."""
    rng = np.random.default_rng(3)
    column = rng.normal(0.1, 1, 400)
    same = np.repeat(column[:, None], n_tests, axis=1)
    raw = stats.sign_flip_p_values(column[:, None], np.arange(400), 20_000, 0)[0]
    adjusted = stats.max_t_sign_flip([(same, np.arange(400))], 20_000, 1)
    assert adjusted == pytest.approx(np.full(n_tests, raw), abs=0.015)
    identity = np.eye(n_tests)
    sidak = 1 - (1 - 0.02) ** n_tests
    assert stats.max_t_crossed([0.02] * n_tests, identity, 40_000, 0) == pytest.approx(
        np.full(n_tests, sidak), abs=0.006
    )
    ones = np.ones((n_tests, n_tests))
    assert stats.max_t_crossed([0.02] * n_tests, ones, 40_000, 0) == pytest.approx(
        np.full(n_tests, 0.02), abs=0.003
    )


def test_max_t_steps_down_and_keeps_the_order() -> None:
    p = np.array([0.3, 0.0004, 0.02, 0.9])
    adjusted = stats.max_t_crossed(p, np.eye(4), 40_000, 0)
    assert np.all(adjusted >= p)
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
    assert adjusted[3] == pytest.approx(0.9, abs=0.01), "the last step compares with itself alone"
    assert adjusted[2] == pytest.approx(1 - 0.98**3, abs=0.006)


def test_the_correlation_is_that_of_the_estimates() -> None:
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 1, 4000)
    means = shared + rng.normal(0, 1, (3, 4000))
    errors = [stats.crossed_effect(m).se for m in means]
    values = stats.crossed_correlation(means, np.arange(4000), errors)
    assert values == pytest.approx(np.full((3, 3), 0.5) + 0.5 * np.eye(3), abs=0.05)
    # half the variance of a test is its seeds', which it shares with no other
    wider = stats.crossed_correlation(means, np.arange(4000), np.sqrt(2) * np.array(errors))
    assert wider[0, 1] == pytest.approx(values[0, 1] / 2)


def test_the_robust_p_is_t_with_the_seeds_df_where_they_dominate() -> None:
    rng = np.random.default_rng(5)
    diff = rng.normal(size=(500, 1)) * 0.01 + np.array([-1.0, 0.0, 1.2]) + 2.0
    effect = stats.crossed_effect(diff)
    assert effect.df == 2
    assert effect.p_robust == pytest.approx(effect.p_value, rel=0.01)


def test_the_robust_p_is_the_items_t_where_the_seeds_do_nothing_and_are_many() -> None:
    rng = np.random.default_rng(6)
    diff = rng.normal(0.02, 0.3, (300, 1)) + rng.normal(0, 0.001, (300, 12))
    effect = stats.crossed_effect(diff)
    assert effect.p_robust == pytest.approx(effect.p_value, rel=0.01)


@pytest.mark.slow
def test_far_below_five_per_cent_only_the_robust_p_holds_with_few_seeds() -> None:
    """S = 3 fits that spread widely: one in six times they agree by chance."""
    rng = np.random.default_rng(7)
    stack = (
        rng.normal(0, 0.3, (3000, 400, 1))
        + rng.normal(0, 0.07, (3000, 1, 3))
        + rng.normal(0, 0.3, (3000, 400, 3))
    )
    estimates = stats.crossed_estimates(stack)
    assert np.mean(estimates.p_value < 0.005) > 0.015
    assert np.mean(estimates.p_robust < 0.005) <= 0.0075
    assert np.mean(estimates.p_robust < 0.05) <= 0.055


def test_a_stack_is_estimated_as_its_matrices_are() -> None:
    rng = np.random.default_rng(8)
    stack, clusters, folds = rng.normal(size=(5, 40, 3)), np.arange(40) % 11, np.arange(40) % 2
    together = stats.crossed_estimates(stack, clusters, folds)
    for i, matrix in enumerate(stack):
        alone = stats.crossed_effect(matrix, clusters, folds)
        for name in vars(together):
            assert getattr(together, name)[i] == pytest.approx(getattr(alone, name)), name


@pytest.mark.slow
def test_the_least_design_is_the_least() -> None:
    variances = stats.Variances(0.09, 0.0004, 0.09, items_per_cluster=4.0)
    for effect, seeds in itertools.product((0.05, 0.08), (5, 10)):
        n = stats.least_items(effect, variances, seeds)
        assert n is not None
        before, at = stats.detectable_effects(variances, [n - 1, n], seeds)
        assert at <= effect < before
    few = stats.least_seeds(0.03, variances, 800)
    assert few is not None
    assert np.all(stats.detectable_effects(variances, 800, np.arange(1, few)) > 0.03)
    assert stats.least_items(0.01, variances, 3) is None, "the seeds bound what can be seen"
    assert stats.least_seeds(0.01, variances, 100) is None, "the items bound what can be seen"
    with pytest.raises(InputError, match="wanted effect is 0"):
        stats.least_items(0.0, variances, 3)


def test_friedman_of_tasks_that_agree_and_of_one_task() -> None:
    friedman = stats.friedman([[1.0, 2.0, 3.0]] * 12)
    assert friedman.ranks == (3.0, 2.0, 1.0)
    assert (friedman.f_statistic, friedman.p_value) == (np.inf, 0.0)
    assert stats.friedman(np.ones((4, 3))).chi_square_ties == 0.0
    with pytest.raises(InputError, match="there are 1 tasks or methods"):
        stats.friedman([[1.0, 2.0]])


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_tasks_that_score_the_same_documents_do_not_count_them_twice(shared: bool) -> None:
    """Two tasks of one set of documents: added as if apart, their variances are half of it."""
    rng, rejected, apart = np.random.default_rng(12), 0, 0
    for _ in range(400):
        document = rng.normal(0, 0.3, (100, 1))
        second = document if shared else rng.normal(0, 0.3, (100, 1))
        diffs = [each + rng.normal(0, 0.05, (100, 3)) for each in (document, second)]
        labels = [np.arange(100), np.arange(100) + (0 if shared else 100)]
        effect = stats.macro_effect(diffs, labels, shared_clusters=True)
        rejected += effect.p_value < 0.05
        apart += stats.macro_effect(diffs).p_value < 0.05
        assert effect.n_clusters == (100 if shared else 200)
    assert 0.02 <= rejected / 400 <= 0.08
    assert (apart / 400 > 0.12) == shared


def test_tasks_that_share_nothing_add_as_before() -> None:
    rng = np.random.default_rng(3)
    diffs = [rng.normal(size=(n, 3)) for n in (20, 30, 25)]
    labels = [np.arange(n) // 5 + start for n, start in ((20, 0), (30, 10), (25, 20))]
    one = stats.macro_effect(diffs, labels)
    two = stats.macro_effect(diffs, labels, shared_clusters=True)
    for name in ("estimate", "se", "df", "low", "high", "p_value", "p_robust", "n_clusters"):
        assert getattr(one, name) == pytest.approx(getattr(two, name))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_the_seed_robust_interval_holds_what_its_test_does_not_reject(
    seeds: int, spread: float
) -> None:
    rng = np.random.default_rng(seeds)
    diff = rng.normal(0.05, 0.3, (200, 1)) + rng.normal(0, 0.3, (200, seeds))
    diff += rng.normal(0, spread, (1, seeds))
    clusters = np.arange(200) // 2
    effect, plain = stats.seed_robust_effect(diff, clusters), stats.crossed_effect(diff, clusters)
    assert effect.p_value == effect.p_robust == plain.p_robust
    assert (effect.p_value < 0.05) == (effect.low > 0 or effect.high < 0)
    assert effect.low <= plain.low
    assert effect.high >= plain.high
    for end in (effect.low, effect.high):
        assert stats.seed_robust_effect(diff - end, clusters).p_value == pytest.approx(0.05)
    macro = stats.macro_effect([diff], [clusters], seed_robust=True)
    assert (macro.low, macro.high) == pytest.approx((effect.low, effect.high))


def test_without_seeds_or_variation_the_effect_stays_what_it_is() -> None:
    one = np.random.default_rng(0).normal(size=(20, 1))
    plain = stats.crossed_effect(one, resamples=0)
    assert stats.seed_robust_effect(one) == plain
    for diff in (np.zeros((20, 3)), np.full((20, 3), 0.5)):
        assert stats.seed_robust_effect(diff) == stats.crossed_effect(diff)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_a_family_of_ten_holds_its_level_where_three_seeds_spread(spread: float) -> None:
    """By the crossed t 8 and 21 of 100 families claim something that is not there."""
    rng, claims = np.random.default_rng(7), {"holm": 0, "max-t": 0, "crossed t": 0}
    for number in range(250):
        diffs = rng.normal(0, 0.2, (1, 400, 1)) + rng.normal(0, 0.2, (10, 400, 1))
        diffs = diffs + rng.normal(0, spread, (10, 1, 3)) + rng.normal(0, 0.3, (10, 400, 3))
        estimates = stats.crossed_estimates(diffs, guard=stats.Guard())
        correlation = stats.crossed_correlation(diffs.mean(axis=2), np.arange(400), estimates.se)
        together = stats.max_t_crossed(estimates.p_robust, correlation, 500, number)
        claims["holm"] += stats.adjust(estimates.p_robust, "holm").min() < 0.05
        claims["max-t"] += together.min() < 0.05
        claims["crossed t"] += stats.adjust(estimates.p_value, "holm").min() < 0.05
    most = 250 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 250))
    assert max(claims["holm"], claims["max-t"]) <= most
    assert claims["crossed t"] > claims["holm"]
