"""How much fits: a budget measured at the start, and batches that shrink when it was too much."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch
from torch import nn

Part = TypeVar("Part")

LEAST_TOKENS = 16
"""Least length to which a row is cut: below it, something else takes the memory."""
SHARE_OF_CACHES = 0.5
"""Share of the free memory that keys and values of a batch may take; the rest is for the pass."""
SHARE_OF_STATES = 0.1
"""Share that kept states of the blocks below the steering may take."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of options in glibc's malloc.h."""
_KEPT_BYTES = (1 << 31) - 1
"""Freed bytes that a process keeps: the most that the option can say."""


def free_bytes(device: torch.device) -> int:
    """Memory that nothing uses on `device`, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    return int(psutil.virtual_memory().available)


def cache_bytes_per_token(model: nn.Module) -> int:
    """Size of one token's keys and values in all blocks, in bytes; at least, where a model keeps
    something else."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    heads = getattr(config, "num_attention_heads", None) or 1
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    size: int = next(model.parameters()).element_size()
    return int(2 * config.num_hidden_layers * key_value_heads * width * size)


def rows_that_fit(model: nn.Module, tokens: int, free: int) -> int:
    """How many rows of `tokens` tokens may generate together in `free` bytes; at least one.

    Counts keys and values, and the scores of a step in float32 twice: as they are and warped.
    """
    vocabulary = model.config.get_text_config().vocab_size  # type: ignore[operator, union-attr]
    row = tokens * cache_bytes_per_token(model) + 8 * vocabulary
    return max(1, int(SHARE_OF_CACHES * free / row))


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on an accelerator or in main memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def release() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def keep_freed_memory() -> None:
    """Let this process use freed memory again, where the C library is glibc.

    It gives large blocks back to the system, which clears them for every tensor: 6 % of
    the time of passes on a CPU, and more where several workers do so.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


@dataclass
class RowSize:
    """Largest length of packed rows; keeps the length that fitted."""

    largest: int | None = None
    """Tokens in a row at most; None: no limit is known yet."""

    def of(self, usual: int) -> int:
        """Tokens in a row: `usual`, the best length for the device, unless that did not fit."""
        return min(usual, self.largest or usual)

    def halve(self, size: int) -> None:
        """Halve the length after rows of `size` tokens did not fit, and free their memory."""
        self.largest = size // 2
        release()


@dataclass
class Batches:
    """Runs rows in batches, and keeps the size that fitted."""

    largest: int | None = None
    """Rows in a batch at most; None: no limit is known yet."""

    def run(self, total: int, limit: int, part: Callable[[range], Part]) -> list[Part]:
        """Results of `part` for rows 0 to `total`, in order, in batches of `limit` at most.

        A batch for which memory runs out is halved, and no later one is larger than its halves.
        Raises what `part` raises, out of memory too where a single row does not fit.
        """
        size = min(limit, self.largest or limit, total)
        waiting = [range(i, min(i + size, total)) for i in range(0, total, size)][::-1]
        parts: list[Part] = []
        while waiting:
            rows = waiting.pop()
            if self._fits(rows, part, parts):
                continue
            half = (len(rows) + 1) // 2
            self.largest = min(half, self.largest or half)
            release()
            waiting += [rows[half:], rows[:half]]
        return parts

    def _fits(self, rows: range, part: Callable[[range], Part], parts: list[Part]) -> bool:
        """Run one batch; False if it must be halved. The error and its memory are released then."""
        try:
            parts.append(part(rows))
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or len(rows) == 1:
                raise
            return False
        return True
