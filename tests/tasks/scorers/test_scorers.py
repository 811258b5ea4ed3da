"""distinct-n and word overlap, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.tasks.scorers.distinct import distinct_n, distinct_scores
from steereval.tasks.scorers.overlap import nearer_to_first, overlaps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c d", (1.0, 1.0, 1.0)),
        ("a a a a", (1 / 4, 1 / 3, 1 / 2)),
        ("a b a b a", (2 / 5, 2 / 4, 2 / 3)),
        ("once", (1.0, 0.0, 0.0)),
        ("", (0.0, 0.0, 0.0)),
        (" \n ", (0.0, 0.0, 0.0)),
    ],
)
def test_distinct_n_by_hand(text: str, expected: tuple[float, ...]) -> None:
    scores = distinct_scores(text)
    assert list(scores) == ["distinct_1", "distinct_2", "distinct_3"]
    assert tuple(scores.values()) == pytest.approx(expected)


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(1, 3))
def test_distinct_n_is_a_share(tokens: list[str], n: int) -> None:
    value = distinct_n(" ".join(tokens), n)
    assert 0 <= value <= 1
    assert (value == 0) == (len(tokens) < n)


def test_rouge_by_hand() -> None:
    """Reference of 4 words, answer of 3, of which 2 in common, in order: F = 2·2/(4+3)."""
    result = overlaps("the cat barked", "the black cat slept")
    assert result["rouge1"] == pytest.approx(4 / 7)
    assert result["rougeL"] == pytest.approx(4 / 7)
    reversed_order = overlaps("cat the barked", "the black cat slept")
    assert reversed_order["rouge1"] == pytest.approx(4 / 7)
    assert reversed_order["rougeL"] == pytest.approx(2 / 7)


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 3/4, 2/3, 1/2 of the 1- to 4-grams, no brevity penalty."""
    result = overlaps("a b c d x", "a b c d e")["bleu"]
    assert result == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert overlaps("a b c d", "a b c d")["bleu"] == pytest.approx(100)


def test_bleu_of_an_answer_too_short_for_4_grams() -> None:
    assert overlaps("a b c", "a b c")["bleu"] == pytest.approx(100)


def test_an_empty_answer_overlaps_with_nothing() -> None:
    assert overlaps("", "anything at all") == {"bleu": 0.0, "rouge1": 0.0, "rougeL": 0.0}


def test_a_tie_is_not_nearer() -> None:
    near, far = {"bleu": 2.0}, {"bleu": 1.0}
    assert nearer_to_first([far, near], [far]) == {"bleu_acc": 1.0}
    assert nearer_to_first([far, near], [near]) == {"bleu_acc": 0.0}
    assert nearer_to_first([far], [near, far]) == {"bleu_acc": 0.0}
