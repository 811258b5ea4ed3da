"""Sampling that depends on the item and the seed alone.

Gumbel's trick: the argmax of log-probabilities plus Gumbel noise is a sample. Each row draws its
noise from a name of its own, so that what else is in the batch, in which order and on which
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

from steereval.common.errors import CellError

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
        self._keys = keys
        self._step = 0
        self._warpers: Any = LogitsProcessorList()
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
        names = [f"{key} {self._step}" for key in self._keys]
        self._step += 1
        return warped + gumbel(names, scores.shape[-1], scores.device)


class Finite(LogitsProcessor):  # type: ignore[misc]
    """Refuses scores that are not finite, which allow no valid choice."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores [rows, vocabulary] as they are. Raises CellError if a row has NaN or no
        finite maximum."""
        if not bool(torch.isfinite(scores.max(dim=-1).values).all()):
            raise CellError(
                "scores of the next token are not finite",
                "Lower the strength, or run the model in float32.",
            )
        return scores


def check_one_response(options: Mapping[str, Any]) -> None:
    """Refuse options of generation that ask for several responses to a prompt.

    Raises:
        CellError: `num_return_sequences` is above 1.
    """
    count = options.get("num_return_sequences") or 1
    if int(count) > 1:
        raise CellError(
            f"num_return_sequences={count} asks for several responses, and an item has one",
            "Remove it; several values of `seeds: {sample: [0, 1]}` in a grid give several "
            "responses to each item.",
        )


def samples(options: Mapping[str, Any]) -> bool:
    """Whether generation with these options of lm-eval draws at random: it is greedy unless it
    has a temperature or `do_sample` is set."""
    if options.get("do_sample") is False:
        return False
    return bool(options.get("do_sample") or options.get("temperature"))


def gumbel(names: Sequence[str], count: int, device: torch.device) -> Tensor:
    """Standard Gumbel noise [names, count], a row for each name, the same on every device.

    Counter-based: two rounds of MurmurHash3's 32-bit finaliser over the index, each with a word of
    the name's hash, so that no state is kept and an accelerator draws for itself.
    """
    words = torch.tensor([_words(name) for name in names], device=device)
    bits = torch.arange(count, device=device)[None] + words[:, :1]
    bits = _mixed(_mixed(bits) ^ words[:, 1:])
    # Small uniforms keep all their bits in a float, and large noise comes from small uniforms.
    uniform = (bits & 0xFFFFFFFF).float().add_(0.5).mul_(2.0**-32).clamp_max_(1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _words(name: str) -> list[int]:
    """Two words of 32 bits."""
    digest = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")]


def _mixed(bits: Tensor) -> Tensor:
    """The low 32 bits of each number, mixed: what stands above them never comes down."""
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        bits = bits & 0xFFFFFFFF
        bits = (bits ^ (bits >> shift)) * multiplier
    bits = bits & 0xFFFFFFFF
    return bits ^ (bits >> 16)
