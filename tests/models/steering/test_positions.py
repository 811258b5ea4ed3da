"""Which tokens each rule steers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import InputError
from steereval.models.steering.positions import NAMED, Positions

ranges = st.builds(
    lambda a, b: f"{'' if a is None else a}:{'' if b is None else b}",
    st.none() | st.integers(-9, 9),
    st.none() | st.integers(-9, 9),
)
rules = st.sampled_from(NAMED) | ranges
lengths = st.integers(1, 12)
shields = st.integers(0, 5)
LATER = 6


def steered(rule: str, length: int, unsteered_prefix: int) -> set[int]:
    """Steered indices of a prompt of `length` tokens and six tokens after it."""
    first, end = Positions(rule).interval(length, unsteered_prefix)
    stop = length + LATER if end is None else end
    return set(range(first, stop))


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("generated", {4, 5, 6, 7, 8, 9, 10}),
        ("all", {2, 3, 4, 5, 6, 7, 8, 9, 10}),
        ("prompt", {2, 3, 4}),
        ("prompt-last", {4}),
        ("continuation", {5, 6, 7, 8, 9, 10}),
        ("0:2", {2, 3}),
        ("1:", {3, 4}),
        (":-1", {2, 3}),
        ("-2:", {3, 4}),
        (":", {2, 3, 4}),
        ("2:1", set()),
        ("0:99", {2, 3, 4}),
    ],
)
def test_five_tokens_of_which_two_are_shielded(rule: str, wanted: set[int]) -> None:
    assert steered(rule, 5, 2) == wanted


@given(rules, lengths, shields)
def test_the_shield_is_never_steered(rule: str, length: int, unsteered_prefix: int) -> None:
    assert all(index >= unsteered_prefix for index in steered(rule, length, unsteered_prefix))


@given(lengths, shields)
def test_generated_is_prompt_last_and_continuation(length: int, unsteered_prefix: int) -> None:
    parts = steered("prompt-last", length, unsteered_prefix) | steered(
        "continuation", length, unsteered_prefix
    )
    assert steered("generated", length, unsteered_prefix) == parts


@given(lengths, shields)
def test_all_is_prompt_and_continuation(length: int, unsteered_prefix: int) -> None:
    parts = steered("prompt", length, unsteered_prefix) | steered(
        "continuation", length, unsteered_prefix
    )
    assert steered("all", length, unsteered_prefix) == parts


@given(ranges, lengths, shields)
def test_a_range_is_a_slice_of_what_is_not_shielded(
    rule: str, length: int, unsteered_prefix: int
) -> None:
    start, stop = (int(bound) if bound else None for bound in rule.split(":"))
    assert steered(rule, length, unsteered_prefix) == set(
        range(unsteered_prefix, length)[slice(start, stop)]
    )


@given(rules, lengths, shields)
def test_what_reaches_into_the_prompt(rule: str, length: int, unsteered_prefix: int) -> None:
    """Only rules that say so steer prompt tokens before the last one."""
    if not Positions(rule).reaches_into_prompt:
        assert not any(index < length - 1 for index in steered(rule, length, unsteered_prefix))


def test_rules_that_reach_into_the_prompt() -> None:
    assert [rule for rule in NAMED if Positions(rule).reaches_into_prompt] == ["all", "prompt"]
    assert Positions("0:1").reaches_into_prompt


@pytest.mark.parametrize("rule", ["", "last", "1", "1:2:3", "a:b", "1.5:2", "generated ", "--1:"])
def test_unknown_rule(rule: str) -> None:
    with pytest.raises(InputError, match=r"unknown positions .*\. Use one of generated, "):
        Positions(rule)
