"""AUC and calibration: known answers, brute force, coverage of the truth by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from steereval.common.errors import InputError
from steereval.results.stats import auc_effect, auc_influence, calibration

SCORES = st.lists(st.integers(-3, 3), min_size=4, max_size=30)


def test_four_scores_by_hand() -> None:
    """Positives 3 and 2, negatives 1 and 2: three pairs won and one tied."""
    effect = auc_effect([3.0, 2.0, 1.0, 2.0], [True, True, False, False])
    assert effect.estimate == pytest.approx(3.5 / 4)


@given(SCORES)
def test_it_is_the_share_of_pairs_won(scores: list[int]) -> None:
    labels = np.arange(len(scores)) % 2 == 0
    effect = auc_effect(np.array(scores, float), labels).estimate
    assert effect == pytest.approx(roc_auc_score(labels, scores))


@given(SCORES)
def test_scores_turned_round_have_the_area_turned_round(scores: list[int]) -> None:
    labels = np.arange(len(scores)) % 2 == 0
    plain, turned = (auc_effect(sign * np.array(scores, float), labels) for sign in (1, -1))
    assert plain.estimate + turned.estimate == pytest.approx(1.0)
    assert plain.se == pytest.approx(turned.se, abs=1e-12)


def test_the_variance_is_delongs() -> None:
    """S10/n+ + S01/n- (DeLong et al. 1988, eq. 5), which has n - 1 of each class below it."""
    generator = np.random.default_rng(0)
    labels = np.arange(400) < 150
    scores = generator.normal(labels * 1.0, 1.0)
    above, below = scores[labels], scores[~labels]
    pairs = (above[:, None] > below).astype(float)
    delong = pairs.mean(axis=1).var(ddof=1) / 150 + pairs.mean(axis=0).var(ddof=1) / 250
    assert auc_effect(scores, labels).se ** 2 == pytest.approx(delong, rel=0.02)


def test_clusters_widen_what_they_share() -> None:
    """Each item ten times in a cluster says no more than once."""
    generator = np.random.default_rng(1)
    labels = np.arange(60) % 2 == 0
    scores = generator.normal(labels * 1.0, 1.0)
    once = auc_effect(scores, labels, np.arange(60))
    tenfold = auc_effect(np.repeat(scores, 10), np.repeat(labels, 10), np.repeat(np.arange(60), 10))
    naive = auc_effect(np.repeat(scores, 10), np.repeat(labels, 10))
    assert tenfold.estimate == pytest.approx(once.estimate)
    assert tenfold.se == pytest.approx(once.se)
    assert naive.se < once.se / 2


def test_seeds_are_crossed_with_items() -> None:
    """A barrier that reads nothing in one seed of two makes the area uncertain."""
    labels = np.arange(100) % 2 == 0
    generator = np.random.default_rng(2)
    good = generator.normal(labels * 2.0, 1.0)
    noise = generator.normal(size=100)
    alike = auc_effect(np.column_stack([good, good]), labels)
    apart = auc_effect(np.column_stack([good, noise]), labels)
    assert apart.se > 2 * alike.se
    means = auc_influence(np.column_stack([good, noise]), labels).mean(axis=0)
    assert list(means) == pytest.approx([roc_auc_score(labels, s) for s in (good, noise)])


def test_one_class_has_no_area() -> None:
    with pytest.raises(InputError, match="2 of 2 items are positive"):
        auc_effect([1.0, 2.0], [True, True])


def test_the_calibration_error_by_hand() -> None:
    """Bins of ten: 0.2 predicted and 4 of 10 true, 0.8 predicted and 7 of 10 true."""
    p = np.repeat([0.2, 0.8], 10)
    y = np.r_[np.arange(10) < 4, np.arange(10) < 7]
    result = calibration(p, y)
    assert result.error == pytest.approx((0.2 + 0.1) / 2)
    assert list(result.predicted) == pytest.approx([0.2, 0.8])
    assert list(result.came_true) == pytest.approx([0.4, 0.7])


def test_true_probabilities_are_seldom_called_off() -> None:
    generator = np.random.default_rng(3)
    off = 0
    for _ in range(200):
        p = generator.uniform(size=150)
        off += calibration(p, generator.uniform(size=150) < p, resamples=200).is_off
    assert 1 <= off <= 24


def test_overconfident_probabilities_are_off() -> None:
    generator = np.random.default_rng(4)
    p = generator.uniform(size=400)
    labels = generator.uniform(size=400) < p
    assert calibration(np.where(p > 0.5, 0.99, 0.01), labels).is_off


def test_few_items_share_one_bin() -> None:
    result = calibration([0.1, 0.9, 0.5], [False, True, True])
    assert len(result.predicted) == 1
    assert result.error == pytest.approx(abs(0.5 - 2 / 3))


def test_a_value_that_is_not_a_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"from 0\.5 to 1\.2"):
        calibration([0.5, 1.2], [True, False])
