"""Questions are recognised whatever their spelling, and keys never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.tasks.data.keys import normalise, pair_key, question_key


@pytest.mark.parametrize(
    "other",
    ["what's  new?", "What’s new?", "WHAT'S NEW?", "\tWhat's\u00a0new?\n", "Ｗhat's new?"],
)
def test_spellings_of_a_question_share_a_key(other: str) -> None:
    assert question_key(other) == question_key("What's new?")


def test_golden_keys() -> None:
    """A changed key would give items other folds than earlier runs gave them."""
    assert question_key("What's new?") == "45568bc91e9bf551"
    assert pair_key("toxicity", "0") == "00b19f51edde3458"


@given(st.text(st.characters(max_codepoint=0x24F)))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_pairs_and_questions_do_not_collide() -> None:
    assert question_key("a") != pair_key("a")
    assert pair_key("a", "b") != pair_key("b", "a")
    assert pair_key("ab") != pair_key("a", "b")
