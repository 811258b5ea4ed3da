"""Frames for Transformers' own `generate`: which tokens each decoding pass holds.

The rows of a batch are left-padded. With a cache the first pass holds the prompts and later
ones a token each; without one every pass holds everything. Both are read off the pass itself,
so that any decoding strategy steers the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from steereval.common.errors import CellError
from steereval.models.inference.growing_cache import growing_cache
from steereval.models.inference.pass_layout import LEAST_SHARED_TOKENS
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hooks import Session
from steereval.models.steering.phase_clock import phase
from steereval.models.steering.positions import Positions


@dataclass(frozen=True)
class Prompts:
    """A left-padded batch of prompts, one row each."""

    padding: Tensor
    """Padding tokens in front of each row, int64 [rows]."""
    width: int
    """Tokens in each row, padding included."""
    unsteered_prefix: Sequence[int]
    """Leading tokens of each prompt that are never steered (BOS, few-shot text)."""
    interventions: Sequence[int]
    """Intervention that acts on each row, -1 for none."""
    positions: Sequence[Positions]
    """Which of its tokens are steered, for each row."""
    keys: Sequence[str]
    """Name of each row, for steerers that decide per query."""

    def context(self, rows: int, start: int, length: int) -> ForwardContext:
        """The context of a pass over columns start .. start + length of `rows` rows.

        Beam search repeats each prompt's row in place, so `rows` may be a multiple.
        """
        repeats = rows // len(self.padding)
        first, end = self.bounds()
        columns = torch.arange(start, start + length)
        inside = (columns >= first[:, None]) & (columns < end[:, None])
        assigned = torch.where(inside, torch.tensor(list(self.interventions))[:, None], -1)
        query = torch.arange(rows)[:, None].expand(-1, length)
        last, keys = None, list[str]()
        if start <= self.width - 1 < start + length:
            column = torch.full((rows,), self.width - 1 - start)
            last = torch.stack([torch.arange(rows), column], dim=1)
            keys = [key for key in self.keys for _ in range(repeats)]
        return ForwardContext(assigned.repeat_interleave(repeats, dim=0), query, last, keys)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """First steered column of each row, and the one after the last, int64 [rows] each."""
        rows = zip(self.positions, self.padding.tolist(), self.unsteered_prefix, strict=True)
        intervals = [
            positions.interval(self.width - padding, unsteered_prefix)
            for positions, padding, unsteered_prefix in rows
        ]
        firsts = [first for first, _ in intervals]
        ends = [_NEVER if end is None else end for _, end in intervals]
        return torch.tensor(firsts) + self.padding, torch.tensor(ends) + self.padding


ROWS = {"cpu": 256, "cuda": 512}
"""Rows of a decoding pass by kind of device: more no longer make a row cheaper. Measured on a CPU:
32, 64, 128, 256 and 512 rows write 473 texts of 32 tokens in 124, 84, 63, 56 and 58 s."""
_NEVER = 1 << 40
"""A column that no generation reaches."""


def rows_together(prompts: int, arms: int, device: str) -> int:
    """Rows of a batch of `prompts` prompts under `arms` arms each, with all arms of a prompt in it:
    of as many of the prompts as keep a kind of device busy."""
    most = ROWS["cpu" if device == "cpu" else "cuda"]
    return max(prompts, arms * min(prompts, max(1, most // arms)))


@dataclass
class Passes:
    """The forward passes of one generation."""

    prompts: Prompts
    """The prompts to continue."""
    spans: list[tuple[int, int, int]] = field(default_factory=list)
    """Rows, first column and the column after the last of each pass."""

    def add(self, rows: int, start: int, length: int) -> None:
        """Note a pass over `length` columns of `rows` rows from column `start` on."""
        self.spans.append((rows, start, start + length))

    def requested(self) -> dict[int, int]:
        """Number of tokens that these passes have to steer, by intervention.

        Counted from the positions that the prompts ask for, not from what the hooks were given.
        """
        if not self.spans:
            return {}
        rows, starts, ends = np.array(self.spans, dtype=np.int64).T[:, :, None]
        first, end = (bound.numpy() for bound in self.prompts.bounds())
        inside = np.clip(np.minimum(end, ends) - np.maximum(first, starts), 0, None)
        of_row = (inside * (rows // len(first))).sum(axis=0)
        requested: dict[int, int] = {}
        for index, tokens in zip(self.prompts.interventions, of_row.tolist(), strict=True):
            if index >= 0:
                requested[index] = requested.get(index, 0) + tokens
        return requested

    def check_covers(self, width: int) -> None:
        """Check that the passes held all tokens to be steered of texts of `width` tokens.

        Args:
            width: Columns of the generated batch, padding and prompt included. Its last column
                is never fed to the model.

        Raises:
            CellError: No pass held one of them.
        """
        fed = np.zeros(width - 1, dtype=bool)
        for _, start, stop in self.spans:
            fed[start:stop] = True
        first, end = self.prompts.bounds()
        rows = zip(self.prompts.interventions, first.tolist(), end.tolist(), strict=True)
        for index, low, high in rows:
            wanted = fed[low:high]
            if index >= 0 and not wanted.all():
                raise CellError(
                    f"generation fed {int(wanted.sum())} of the {len(wanted)} tokens that a "
                    "request asks to be steered",
                    "The model generates in a way that steering does not follow; leave out the "
                    "generation options that are not lm-eval's own.",
                )


@contextmanager
def generating(model: nn.Module, session: Session, prompts: Prompts) -> Iterator[Passes]:
    """Steer each pass of the one generation inside the block.

    Args:
        model: A causal language model of Transformers.
        session: Interventions that are hooked into the model.
        prompts: What is generated from.

    Yields:
        The passes, filled as they come.

    Raises:
        CellError: The steerers saw another number of tokens than the prompts ask for.
    """
    seen = 0
    passes = Passes(prompts)
    settled: dict[int, ForwardContext] = {}

    def context(rows: int, start: int, length: int, device: torch.device) -> ForwardContext:
        # Every rule treats all tokens after the prompt alike, so decoding steps share a context.
        if length > 1 or start < prompts.width:
            return on_device(prompts.context(rows, start, length), device)
        if rows not in settled:
            settled[rows] = on_device(prompts.context(rows, start, length), device)
        return settled[rows]

    def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal seen
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = kwargs["inputs_embeds"][..., 0]
        start = _start(kwargs.get("past_key_values"), seen, ids.shape[1])
        seen = start + ids.shape[1]
        passes.add(ids.shape[0], start, ids.shape[1])
        session.context = context(ids.shape[0], start, ids.shape[1], ids.device)

    handle = module_that_runs(model).register_forward_pre_hook(before, with_kwargs=True)
    try:
        with session.counted(passes.requested):
            yield passes
    finally:
        handle.remove()


def prefilled(model: nn.Module, ids: Tensor, mask: Tensor) -> DynamicCache:
    """Keys and values of all but the last token of left-padded prompts [rows, width], unsteered,
    those of equal prompts computed once, and what all begin with once. Empty where no two rows
    are equal.

    Given to `generate`, which goes on from there. For steering that begins at the last prompt
    token, and for models that `supports_sharing` has found to take positions and caches.
    """
    rows = [(tuple(i), tuple(m)) for i, m in zip(ids.tolist(), mask.tolist(), strict=True)]
    first: dict[Any, int] = {}
    for index, row in enumerate(rows):
        first.setdefault(row, index)
    cache = growing_cache(model)
    if len(first) == len(rows) or ids.shape[1] < 2:
        return cache
    chosen = torch.tensor(list(first.values()), device=ids.device)
    place = {row: index for index, row in enumerate(first)}
    with phase("prefill"):
        _fill(model, cache, ids[chosen, :-1], mask[chosen])
    cache.batch_select_indices(torch.tensor([place[row] for row in rows], device=ids.device))
    return cache


def _fill(model: nn.Module, cache: DynamicCache, ids: Tensor, mask: Tensor) -> None:
    """Run left-padded rows [rows, width] into an empty `cache`; `mask` [rows, width + 1]."""
    mask = mask[:, : ids.shape[1]]
    positions = (mask.long().cumsum(dim=1) - 1).clamp_min(0)
    start = _fill_shared_prefix(model, cache, ids, mask)
    with torch.no_grad():
        model(
            input_ids=ids[:, start:],
            attention_mask=mask,
            position_ids=positions[:, start:],
            past_key_values=cache,
            use_cache=True,
        )


def _fill_shared_prefix(model: nn.Module, cache: DynamicCache, ids: Tensor, mask: Tensor) -> int:
    """Put into `cache` what the first columns of all rows have in common, as a few-shot primer;
    how many columns that settles. A column that holds more than that in one row is left."""
    padding = (mask.cumsum(dim=1) == 0).sum(dim=1)
    texts = [row[p:].tolist() for row, p in zip(ids, padding.tolist(), strict=True)]
    # A prefix of both the first and the last text in lexical order is a prefix of all.
    pairs = zip(min(texts), max(texts), strict=False)
    shared_prefix = [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    columns = ids.shape[1] - max(len(text) - len(shared_prefix) for text in texts)
    # The last column is left to the pass over the rest, which may not be empty.
    columns = min(columns, ids.shape[1] - 1)
    if len(shared_prefix) < LEAST_SHARED_TOKENS or columns < LEAST_SHARED_TOKENS:
        return 0
    alone = DynamicCache(config=model.config.get_text_config(decoder=True))  # type: ignore[operator, union-attr]
    if any(type(layer) is not DynamicLayer for layer in alone.layers):
        return 0  # a window drops tokens that some of the rows still need
    with torch.no_grad():
        model(
            input_ids=torch.tensor([shared_prefix], device=ids.device),
            past_key_values=alone,
            use_cache=True,
        )
    # Column c of a row with p columns of padding holds token c - p; padding is masked.
    index = (torch.arange(columns, device=ids.device) - padding[:, None]).clamp(
        0, len(shared_prefix) - 1
    )
    layers: list[Any] = alone.layers
    for number, layer in enumerate(layers):
        keys, values = layer.keys[0][:, index], layer.values[0][:, index]
        cache.update(keys.transpose(0, 1), values.transpose(0, 1), number)
    return columns


def module_that_runs(model: nn.Module) -> nn.Module:
    """The module whose forward `generate` calls, inside wrappers of PEFT and `torch.compile`."""
    model = getattr(model, "_orig_mod", model)
    inner: nn.Module = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return inner


def _start(cache: Any, seen: int, length: int) -> int:
    """Column at which a pass of `length` columns begins, after `seen` columns.

    A cache of keys holds it. Recurrent models have none: there a pass that is longer than all
    before it holds the whole text again.
    """
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    return 0 if length > seen else seen


def on_device(context: ForwardContext, device: torch.device) -> ForwardContext:
    """The context with the tensors that steerers index on `device`."""
    query = None if context.query is None else context.query.to(device)
    last = None if context.prompt_last is None else context.prompt_last.to(device)
    return ForwardContext(context.assigned, query, last, context.keys)
