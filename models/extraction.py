"""Activations of the last token of many texts, for several sites in one pass.

Texts that begin alike (answers to one question) share what they have in common, as in
`packing`, where the model allows it; otherwise they run in padded batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from steereval.errors import FitError
from steereval.models.hooks import reading
from steereval.models.likelihood import PACK_TOKENS
from steereval.models.packed_row import packed_inputs
from steereval.models.packing import Request, build_forest, packs
from steereval.models.sites import Site

BATCH_TOKENS = 1024
"""Padded tokens in a batch."""

Run = Callable[..., dict[Site, Tensor]]
Texts = Sequence[Sequence[int]]
Found = dict[int, dict[Site, Tensor]]


def last_token_states(
    model: nn.Module, texts: Sequence[Sequence[int]], sites: Sequence[Site], share: bool = False
) -> dict[Site, Tensor]:
    """States [n, d] (float32, CPU) of the last token of each of n tokenised texts, by site.

    `share`: whether the model takes packed rows (`likelihood.supports_sharing`). Raises FitError
    for an empty text or states that are not finite.
    """
    if any(len(text) == 0 for text in texts):
        raise FitError("a contrast text has no tokens", "Remove empty texts from the contrast set.")
    found: Found = {}
    with reading(model, sites) as run:
        read = _read_packed if share else _read_batches
        read(run, model, texts, found)
    return {site: _stacked(site, [found[i][site] for i in range(len(texts))]) for site in sites}


def _read_packed(run: Run, model: nn.Module, texts: Texts, found: Found) -> None:
    requests = [Request(tuple(text), (0,), -1, 0, 0) for text in texts]
    for pack in packs(build_forest(requests), PACK_TOKENS):
        states = run(**packed_inputs(model, pack), use_cache=False)
        for index, text, _ in pack.answers:
            found[text] = {site: rows[0, index].float().cpu() for site, rows in states.items()}


def _read_batches(run: Run, model: nn.Module, texts: Texts, found: Found) -> None:
    for batch in _batches(texts):
        ids, mask, last = _padded([texts[i] for i in batch], _device(model))
        states = run(input_ids=ids, attention_mask=mask, use_cache=False)
        for row, text in enumerate(batch):
            found[text] = {s: rows[row, last[row]].float().cpu() for s, rows in states.items()}


def _batches(texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of the texts, by length, in batches of at most BATCH_TOKENS padded tokens."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches: list[list[int]] = [[]]
    for index in order:
        if batches[-1] and (len(batches[-1]) + 1) * len(texts[index]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


def _padded(
    texts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Tensor, Tensor, list[int]]:
    width = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(list(text))
        mask[row, : len(text)] = 1
    return ids.to(device), mask.to(device), [len(text) - 1 for text in texts]


def _stacked(site: Site, rows: Sequence[Tensor]) -> Tensor:
    states = torch.stack(list(rows))
    if not bool(torch.isfinite(states).all()):
        raise FitError(
            f"activations at layer {site} are not finite",
            "The model overflowed there: use float32 or bfloat16, or another layer.",
        )
    return states


def _device(model: nn.Module) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[operator, no-any-return]
