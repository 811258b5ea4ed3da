"""Folds, subsets, hashes and cards of contrast sets."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from steereval.common.errors import ContrastError
from steereval.tasks.contrast.card import length_auc
from steereval.tasks.contrast.contrast_set import ContrastSet, Statement
from steereval.tasks.data.keys import question_key

QUESTIONS = st.lists(
    st.text(min_size=1, max_size=8), min_size=2, max_size=30, unique_by=question_key
)


def contrast_of(questions: list[str], n_folds: int = 2) -> ContrastSet:
    statements = tuple(
        Statement(question, answer, positive, question_key(question), "g", number)
        for number, question in enumerate(questions)
        for answer, positive in (("yes, it is", True), ("no", False))
    )
    return ContrastSet("test", "1", "a test", "nowhere", "by hand", statements, n_folds)


@given(QUESTIONS, st.integers(2, 5))
def test_folds_partition_the_keys_and_are_balanced(questions: list[str], n_folds: int) -> None:
    contrast = contrast_of(questions, n_folds)
    sizes = [0] * n_folds
    for key in contrast.keys:
        fold = contrast.fold_of(key)
        assert fold is not None
        sizes[fold] += 1
    assert sum(sizes) == len(contrast.keys)
    assert max(sizes) - min(sizes) <= 1


@given(QUESTIONS)
def test_training_leaves_out_exactly_its_fold(questions: list[str]) -> None:
    contrast = contrast_of(questions)
    parts = [contrast.training(fold) for fold in range(2)]
    for fold, part in enumerate(parts):
        assert all(contrast.fold_of(key) != fold for key in part.keys)
    assert sorted(parts[0].keys + parts[1].keys) == sorted(contrast.keys)


@given(QUESTIONS, st.randoms())
def test_folds_do_not_depend_on_the_order(questions: list[str], shuffler: random.Random) -> None:
    contrast = contrast_of(questions)
    shuffled = list(contrast.statements)
    shuffler.shuffle(shuffled)
    other = replace(contrast, statements=tuple(shuffled))
    assert [contrast.fold_of(key) for key in contrast.keys] == [
        other.fold_of(key) for key in contrast.keys
    ]


@given(QUESTIONS, st.floats(0.05, 1), st.integers(0, 2**32))
def test_subsets_hold_whole_keys_and_keep_the_folds(
    questions: list[str], fraction: float, seed: int
) -> None:
    contrast = contrast_of(questions)
    drawn = contrast.subset(fraction, seed)
    assert len(drawn.keys) == max(1, round(fraction * len(contrast.keys)))
    assert len(drawn.statements) == 2 * len(drawn.keys)
    assert set(drawn.keys) <= set(contrast.keys)
    assert drawn == contrast.subset(fraction, seed)
    assert all(drawn.fold_of(key) == contrast.fold_of(key) for key in contrast.keys)
    within = contrast.training(0).subset(fraction, seed)
    assert all(within.fold_of(key) == contrast.fold_of(key) for key in contrast.keys)


@given(QUESTIONS.filter(lambda questions: len(questions) > 9), st.randoms())
def test_parts_share_not_key_and_do_not_depend_on_the_order(
    questions: list[str], shuffler: random.Random
) -> None:
    contrast = contrast_of(questions)
    parts = contrast.parted((0.4, 0.4, 0.2))
    assert sorted(key for part in parts for key in part.keys) == sorted(contrast.keys)
    assert [len(part.keys) for part in parts] == pytest.approx(
        [share * len(contrast.keys) for share in (0.4, 0.4, 0.2)], abs=1
    )
    shuffled = list(contrast.statements)
    shuffler.shuffle(shuffled)
    others = replace(contrast, statements=tuple(shuffled)).parted((0.4, 0.4, 0.2))
    assert [set(part.keys) for part in parts] == [set(other.keys) for other in others]


def test_subsets_differ_between_seeds_and_cover_all_keys() -> None:
    contrast = contrast_of([f"question {i}" for i in range(20)])
    draws = [contrast.subset(0.5, seed).keys for seed in range(20)]
    assert len(set(draws)) == 20
    assert set().union(*draws) == set(contrast.keys)


def test_the_whole_subset_is_the_whole_set() -> None:
    contrast = contrast_of(["a", "b", "c"])
    assert contrast.subset(1.0, 7).statements == contrast.statements


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(ContrastError, match="above 0 and at most 1"):
        contrast_of(["a", "b"]).subset(fraction, 0)


def test_a_set_of_one_fold_has_none() -> None:
    contrast = contrast_of(["a", "b"], n_folds=1)
    assert contrast.fold_of(contrast.keys[0]) is None
    assert contrast.training(None) is contrast
    with pytest.raises(ContrastError, match="no fold 0"):
        contrast.training(0)


def test_unknown_keys_and_folds() -> None:
    contrast = contrast_of(["a", "b"])
    assert contrast.fold_of(question_key("c")) is None
    with pytest.raises(ContrastError, match=r"no fold 2\. It has 0 to 1"):
        contrast.training(2)


def test_a_part_without_one_class_is_refused() -> None:
    statements = tuple(Statement(None, text, text == "a", text) for text in ("a", "b"))
    contrast = ContrastSet("test", "1", "", "", "", statements)
    with pytest.raises(ContrastError, match="lacks one of the classes"):
        contrast.subset(0.5, 0)


def test_golden_hash_and_folds() -> None:
    """Held so that artefacts and cells of earlier runs keep their identity."""
    contrast = contrast_of(["a", "b", "c", "d"])
    assert contrast.content_hash[:16] == "9d8133543f11ba13"
    assert [contrast.fold_of(key) for key in contrast.keys] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "change",
    [{"answer": "x"}, {"positive": False}, {"key": "x"}, {"group": None}, {"pair": None}],
)
def test_every_field_of_a_statement_is_in_the_hash(change: dict[str, object]) -> None:
    contrast = contrast_of(["a", "b"])
    changed = (replace(contrast.statements[0], **change), *contrast.statements[1:])
    assert replace(contrast, statements=changed).content_hash != contrast.content_hash
    assert replace(contrast, version="2").content_hash == contrast.content_hash


def test_card_counts() -> None:
    statements = (
        Statement("q", "long answer", True, "k1", "g", 0),
        Statement("q", "no", False, "k1", "g", 0),
        Statement("q", "No ", False, "k1", "g", None),
        Statement("r", "also long", True, "k2", None, None),
    )
    card = ContrastSet("n", "v", "d", "s", "rule", statements).card()
    assert card["n_positive"] == card["n_negative"] == 2
    assert (card["n_keys"], card["n_pairs"], card["n_duplicates"]) == (2, 1, 1)
    assert (card["n_groups"], card["n_keys_without_group"]) == (1, 1)
    assert (card["mean_length_positive"], card["mean_length_negative"]) == (10.0, 2.5)
    assert card["length_auc"] == 1.0
    assert [warning.split(":")[0] for warning in card["warnings"]] == [
        "length alone separates the classes",
        "1 statements repeat another one",
        "1 of 2 keys have no group, though others have",
    ]


def test_the_card_warns_of_unbalanced_classes() -> None:
    statements = tuple(Statement(None, f"same {i}", i == 0, str(i)) for i in range(5))
    card = ContrastSet("n", "v", "d", "s", "rule", statements).card()
    assert card["warnings"] == ["the classes are unbalanced: 1 positive, 4 negative"]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
    st.lists(st.integers(0, 9), min_size=1, max_size=20),
)
def test_length_auc_is_the_area_under_the_curve(positive: list[int], negative: list[int]) -> None:
    expected = roc_auc_score([1] * len(positive) + [0] * len(negative), positive + negative)
    area = length_auc(np.array(positive, float), np.array(negative, float))
    assert area == pytest.approx(expected)
