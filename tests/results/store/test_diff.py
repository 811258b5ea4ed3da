"""Where nested values differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.results.store.diff import ABSENT, Difference, differences

plain = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=2), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [Difference("a.b", "1", "2")]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]},
         [Difference("a[1]", "2", "3"), Difference("a[2]", ABSENT, "4")]),
        ({"a": 1}, {"b": {"c": None}},
         [Difference("a", "1", ABSENT), Difference("b", ABSENT, '{"c": null}')]),
        ([{"x": "é"}], [{"x": "e"}], [Difference("[0].x", '"é"', '"e"')]),
        (1, True, [Difference("", "1", "true")]),
        (1, 1.0, []),
        ("ab", ["a", "b"], [Difference("", '"ab"', '["a", "b"]')]),
    ],
)  # fmt: skip
def test_known_differences(first: Any, second: Any, result: list[Difference]) -> None:
    assert list(differences(first, second)) == result


@given(plain)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert list(differences(value, value)) == []


@given(plain, plain)
def test_differences_turn_round(first: Any, second: Any) -> None:
    there = {(d.path, d.first, d.second) for d in differences(first, second)}
    back = {(d.path, d.second, d.first) for d in differences(second, first)}
    assert there == back
