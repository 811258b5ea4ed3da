"""First lines of errors, and short hashes."""

from __future__ import annotations

import hashlib

import pytest

from steereval.common.text import first_line, short_hash, slug


@pytest.mark.parametrize(
    ("message", "line"),
    [("one\ntwo", "one"), ("\n  one  \ntwo", "one  "), ("", "KeyError"), ("\n", "KeyError")],
)
def test_first_line_of_an_error(message: str, line: str) -> None:
    class KeyError(Exception):
        pass

    assert first_line(KeyError(message)) == line


def test_short_hashes_are_the_start_of_a_sha256() -> None:
    whole = hashlib.sha256("é".encode()).hexdigest()
    assert short_hash("é") == whole[:16]
    assert short_hash("é".encode(), 32) == whole[:32]
    assert slug("a b").endswith(short_hash("a b", 6))
