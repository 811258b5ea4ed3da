"""Judgements are remembered by judge and content."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import StoreError
from steereval.harness.judging.cache import AT_ONCE, JudgeCache, pair_key


def test_what_is_kept_is_known_to_another(tmp_path: Path) -> None:
    JudgeCache(tmp_path / "c").keep("j", {("a", "b"): (0.1, 3.0)})
    other = JudgeCache(tmp_path / "c")
    assert other.known("j", [("a", "b"), ("a", "c")]) == {("a", "b"): (0.1, 3.0)}
    assert other.known("another judge", [("a", "b")]) == {}


def test_many_texts_are_looked_up(tmp_path: Path) -> None:
    pairs = [("", str(i)) for i in range(2 * AT_ONCE + 1)]
    cache = JudgeCache(tmp_path / "c")
    cache.keep("j", {pair: (float(i),) for i, pair in enumerate(pairs)})
    assert cache.known("j", pairs) == {pair: (float(i),) for i, pair in enumerate(pairs)}


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_other_texts_have_other_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (pair_key(one) == pair_key(other)) == (one == other)


def test_what_is_between_two_texts_counts() -> None:
    assert len({pair_key(("ab", "c")), pair_key(("a", "bc")), pair_key(("", "abc"))}) == 3


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"cannot be used.*Delete the file"):
        JudgeCache(tmp_path / "c").known("j", [("a", "b")])
