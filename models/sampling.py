"""Sampling that depends on the item and the seed alone.

Gumbel's trick: the argmax of log-probabilities plus Gumbel noise is a sample. Each row draws its
noise from a generator of its own, so that what else is in the batch, in which order and on which
worker, does not matter; and steered and unsteered rows of one item meet the same noise (common
random numbers), so that their difference varies less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steereval.errors import CellError

TAKEN = ("do_sample", "temperature", "top_k", "top_p")
"""Options of generation that `GumbelSampler` takes over."""
_REFUSED = ("min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


class GumbelSampler(LogitsProcessor):  # type: ignore[misc]
    """Turns greedy decoding into sampling, after temperature, top-k and top-p."""

    def __init__(self, keys: Sequence[str], options: Mapping[str, Any]) -> None:
        """`keys` name the rows: seed and item. Equal keys draw equal noise.

        Raises CellError for options that would sample in another way.
        """
        refused = [name for name in _REFUSED if options.get(name) is not None]
        if (options.get("num_beams") or 1) > 1:
            refused.append("num_beams")
        if refused:
            raise CellError(
                f"sampling with {refused[0]}={options[refused[0]]} is not supported",
                "Sample with temperature, top_k and top_p, or set do_sample: false.",
            )
        self._noise = [_generator(key) for key in keys]
        self._warpers = LogitsProcessorList()
        temperature = float(options.get("temperature") or 1.0)
        if temperature != 1.0:
            self._warpers.append(TemperatureLogitsWarper(temperature))
        if options.get("top_k"):
            self._warpers.append(TopKLogitsWarper(int(options["top_k"])))
        if options.get("top_p") is not None and float(options["top_p"]) < 1.0:
            self._warpers.append(TopPLogitsWarper(float(options["top_p"])))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [rows, vocabulary] whose argmax is a sample; called once a step."""
        warped: Tensor = self._warpers(input_ids, scores).float()
        noise = torch.stack([_gumbel(each, scores.shape[-1]) for each in self._noise])
        return warped + noise.to(scores.device)


def samples(options: Mapping[str, Any]) -> bool:
    """Whether generation with these options of lm-eval draws at random: it is greedy unless it
    has a temperature or is told to sample."""
    if options.get("do_sample") is False:
        return False
    return bool(options.get("do_sample") or options.get("temperature"))


def _generator(key: str) -> torch.Generator:
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _gumbel(generator: torch.Generator, count: int) -> Tensor:
    """Standard Gumbel noise [count]."""
    return -torch.empty(count, dtype=torch.float64).exponential_(generator=generator).log().float()
