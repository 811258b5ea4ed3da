"""Documents that may come from anyone: a value, or one sentence."""

from __future__ import annotations

import pytest

from steereval.common.errors import LONGEST, InputError
from steereval.common.reading import DEEPEST, Malformed, check_plain, parse_json


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000, "nested"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"1" * 5_000, "thousands of digits"),
        (b"\xff", "not UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [(b'{"a": [1, null, "\xc3\xa9"]}', {"a": [1, None, "é"]}), (b'"\\ud83d\\ude00"', "😀"),
     (b"[" * DEEPEST + b"]" * DEEPEST, None)],
)  # fmt: skip
def test_what_can_be_read(text: bytes, value: object) -> None:
    parsed = parse_json(text)
    assert value is None or parsed == value


def test_surrogates_may_be_kept() -> None:
    assert parse_json(b'"\\ud800"', keep_surrogates=True) == "\ud800"


def test_a_value_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Malformed, match="nested"):
        check_plain(endless)


def test_a_long_value_is_quoted_in_short() -> None:
    error = InputError("the value is " + "x" * 100_000 + " here", "Change it.")
    assert len(error.problem) < LONGEST + 20
    assert error.problem.startswith("the value is")
    assert error.problem.endswith(" here")
