"""Activations of the last token of many texts, in batches, for several sites in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from steereval.errors import FitError
from steereval.models.hooks import reading
from steereval.models.sites import Site

BATCH_TOKENS = 1024
"""Padded tokens in a batch."""


def last_token_states(
    model: nn.Module,
    texts: Sequence[Sequence[int]],
    sites: Sequence[Site],
    done: Callable[[int], object] = lambda _: None,
) -> dict[Site, Tensor]:
    """States [n, d] (float32, CPU) of the last token of each of n tokenised texts, by site.

    Texts are batched by length and right-padded under a mask. `done` is told how many texts are
    finished. Raises FitError for an empty text or states that are not finite.
    """
    if any(len(text) == 0 for text in texts):
        raise FitError("a contrast text has no tokens", "Remove empty texts from the contrast set.")
    rows: dict[Site, list[Tensor | None]] = {site: [None] * len(texts) for site in sites}
    with reading(model, sites) as run:
        for batch in _batches(texts):
            ids, mask, last = _padded([texts[i] for i in batch], _device(model))
            states = run(input_ids=ids, attention_mask=mask, use_cache=False)
            for site in sites:
                chosen = states[site][torch.arange(len(batch)), last].float().cpu()
                for index, row in zip(batch, chosen, strict=True):
                    rows[site][index] = row
            done(len(batch))
    return {site: _stacked(site, rows[site]) for site in sites}


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


def _stacked(site: Site, rows: Sequence[Tensor | None]) -> Tensor:
    states = torch.stack([row for row in rows if row is not None])
    if not bool(torch.isfinite(states).all()):
        raise FitError(
            f"activations at layer {site} are not finite",
            "The model overflowed there: use float32 or bfloat16, or another layer.",
        )
    return states


def _device(model: nn.Module) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[operator, no-any-return]
