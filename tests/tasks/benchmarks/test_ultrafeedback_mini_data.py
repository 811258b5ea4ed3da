"""The preference set: its form, and that the length of an answer does not say which it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

from steereval.tasks.contrast.card import length_auc
from steereval.tasks.data.keys import question_key

FIELDS = ["prompt", "chosen", "rejected", "category", "flaw"]
FLAWS = {
    "wrong",
    "evasive",
    "off-topic",
    "rambling",
    "rude",
    "ignores the constraint",
    "overconfident",
}

Length = Callable[[str], int]


def read_pairs() -> list[dict[str, str]]:
    path = files("steereval.tasks.benchmarks") / "ultrafeedback_mini" / "ultrafeedback_mini.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


PAIRS = read_pairs()


def words(text: str) -> int:
    return len(text.split())


def lengths(field: str, length: Length) -> NDArray[np.float64]:
    return np.array([length(pair[field]) for pair in PAIRS], dtype=np.float64)


def test_there_are_enough_pairs_and_categories() -> None:
    counts = Counter(pair["category"] for pair in PAIRS)
    assert len(PAIRS) >= 160
    assert len(counts) >= 8
    assert max(counts.values()) <= 2 * min(counts.values())


def test_every_line_has_the_fields_in_order_filled_and_trimmed() -> None:
    assert [list(pair) for pair in PAIRS] == [FIELDS] * len(PAIRS)
    texts = [text for pair in PAIRS for text in pair.values()]
    assert all(isinstance(text, str) and text and text == text.strip() for text in texts)


def test_no_prompt_and_no_answer_occurs_twice() -> None:
    assert len({question_key(pair["prompt"]) for pair in PAIRS}) == len(PAIRS)
    answers = Counter(pair[field].casefold() for pair in PAIRS for field in ("chosen", "rejected"))
    assert [answer for answer, count in answers.items() if count > 1] == []


def test_rejected_answers_are_worse_for_seven_reasons() -> None:
    counts = Counter(pair["flaw"] for pair in PAIRS)
    assert counts.keys() == FLAWS
    assert min(counts.values()) >= 10
    assert max(counts.values()) <= 0.4 * len(PAIRS)


def test_each_category_has_several_flaws() -> None:
    for category in {pair["category"] for pair in PAIRS}:
        assert len({pair["flaw"] for pair in PAIRS if pair["category"] == category}) >= 3


def test_any_first_fifty_lines_mix_the_categories() -> None:
    assert {pair["category"] for pair in PAIRS[:50]} == {pair["category"] for pair in PAIRS}


@pytest.mark.parametrize("length", [len, words], ids=["characters", "words"])
def test_either_answer_is_as_long_on_average(length: Length) -> None:
    chosen, rejected = lengths("chosen", length), lengths("rejected", length)
    assert abs(chosen.mean() - rejected.mean()) <= 0.1 * min(chosen.mean(), rejected.mean())


@pytest.mark.parametrize("length", [len, words], ids=["characters", "words"])
def test_length_does_not_tell_the_answers_apart(length: Length) -> None:
    """Neither over all answers nor within the pairs, which is what a task compares."""
    chosen, rejected = lengths("chosen", length), lengths("rejected", length)
    longer = np.mean(chosen > rejected) + np.mean(chosen == rejected) / 2
    assert 0.4 <= length_auc(chosen, rejected) <= 0.6
    assert 0.4 <= longer <= 0.6


def test_the_two_answers_of_a_pair_are_of_similar_length() -> None:
    for pair in PAIRS:
        shorter, longer = sorted((len(pair["chosen"]), len(pair["rejected"])))
        assert longer <= 2 * shorter + 6, pair["prompt"]
