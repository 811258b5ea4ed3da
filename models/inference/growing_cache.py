"""A cache of keys and values with room for tokens to come.

Transformers' own copies all of it for every token that is written, into new memory each time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens that there is room for beyond those that made a cache grow."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block, each [rows, heads, tokens, width]: the first tokens of a
    larger tensor."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        """Empty."""
        super().__init__()
        self._keys, self._values = _Room(), _Room()

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens so far, after those [rows, heads, new, width] given."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._keys.with_more(self.keys, key_states)
        self.values = self._values.with_more(self.values, value_states)
        return self.keys, self.values


class _Room:
    """A tensor that is larger than what it holds."""

    def __init__(self) -> None:
        self._whole: Tensor | None = None

    def with_more(self, held: Tensor, more: Tensor) -> Tensor:
        """`held` [rows, heads, tokens, width], which stands in here if it came from here, with
        `more` [rows, heads, new, width] after it."""
        before = held.shape[-2] if held.numel() else 0
        total = before + more.shape[-2]
        whole = self._whole
        if whole is None or not _is_start(held, whole) or total > whole.shape[-2]:
            rows, heads, _, width = more.shape
            whole = more.new_empty(rows, heads, total + ROOM, width)
            if before:
                whole[..., :before, :] = held
            self._whole = whole
        whole[..., before:total, :] = more
        return whole[..., :total, :]


def _is_start(held: Tensor, whole: Tensor) -> bool:
    """Whether `held` is the beginning of `whole`, and not a choice or copy of its rows."""
    return (
        held.data_ptr() == whole.data_ptr()
        and held.stride() == whole.stride()
        and held.shape[:2] == whole.shape[:2]
    )


def growing_cache(model: nn.Module) -> DynamicCache:
    """An empty cache for `model`. Blocks that attend to a window keep Transformers' own."""
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))  # type: ignore[operator, union-attr]
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
