"""A cache that grows in place holds what Transformers' own holds, whatever is done to it."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from steereval.models.inference.growing_cache import ROOM, GrowingLayer, growing_cache

HEADS, WIDTH = 2, 3
steps = st.one_of(
    st.tuples(st.just("update"), st.integers(1, ROOM + 2)),
    st.tuples(st.just("crop"), st.integers(1, 4)),
    st.tuples(st.just("select"), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
    st.tuples(st.just("repeat"), st.integers(1, 3)),
    st.tuples(st.just("reset"), st.none()),
)


@given(st.integers(1, 3), st.lists(steps, max_size=12))
def test_it_holds_what_the_usual_cache_holds(rows: int, steps: list[tuple[str, Any]]) -> None:
    growing, usual = GrowingLayer(), DynamicLayer()
    for name, how in [("update", 2), *steps, ("update", 1)]:
        if name == "update":
            if growing.get_seq_length() == 0:
                rows = 3
            more = torch.randn(2, rows, HEADS, how, WIDTH)
            growing.update(*more)
            usual.update(*more)
        elif name == "crop":
            count = min(how, growing.get_seq_length() - 1)
            for each in (growing, usual):
                each.crop(-count) if count > 0 else None
        elif name == "reset":
            growing.reset()
            usual.reset()
        elif growing.get_seq_length():
            for each in (growing, usual):
                if name == "select":
                    each.batch_select_indices(torch.tensor(how) % rows)
                else:
                    each.batch_repeat_interleave(how)
            rows = growing.keys.shape[0]
        assert growing.get_seq_length() == usual.get_seq_length()
        if growing.get_seq_length():
            assert torch.equal(growing.keys, usual.keys)
            assert torch.equal(growing.values, usual.values)


def test_tokens_that_fit_copy_nothing() -> None:
    growing = GrowingLayer()
    growing.update(*torch.randn(2, 1, HEADS, 5, WIDTH))
    place = growing.keys.data_ptr()
    for _ in range(ROOM):
        growing.update(*torch.randn(2, 1, HEADS, 1, WIDTH))
        assert growing.keys.data_ptr() == place
    growing.update(*torch.randn(2, 1, HEADS, 1, WIDTH))
    assert growing.keys.data_ptr() != place


def test_a_choice_of_rows_is_not_written_over() -> None:
    growing = GrowingLayer()
    growing.update(*torch.randn(2, 3, HEADS, 5, WIDTH))
    before = growing.keys.clone()
    keys = growing.keys
    growing.batch_select_indices(torch.tensor([0, 1, 2]))
    growing.update(*torch.randn(2, 3, HEADS, 1, WIDTH))
    growing.keys.zero_()
    assert torch.equal(keys, before)


def test_blocks_with_a_window_keep_their_own(tiny: Any) -> None:
    model = tiny("gemma3")
    kinds = {type(layer) for layer in growing_cache(model).layers}
    usual = {type(layer) for layer in DynamicCache(config=model.config).layers}
    assert GrowingLayer not in usual
    assert kinds == {GrowingLayer if kind is DynamicLayer else kind for kind in usual}
