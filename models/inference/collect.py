"""Activations of texts, to fit steerers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from steereval.common.errors import InputError
from steereval.models.inference.extraction import Text, read_states
from steereval.models.steering.hook_points import Site, block_at, find_blocks


def collect_activations(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    layers: Sequence[int],
    token: Literal["last", "mean"] = "last",
) -> dict[int, Tensor]:
    """The outputs of decoder blocks for texts, each read in one forward pass.

    Args:
        model: A causal language model of Transformers, on any device.
        tokenizer: Its tokenizer; special tokens are added as it does by default.
        texts: n texts.
        layers: 0-based blocks; negative ones count from the last.
        token: `last` reads the text's last token, `mean` the mean over all its tokens.

    Returns:
        Activations [n, d] (float32, CPU) by layer, under the numbers given in `layers`.

    Raises:
        InputError: `texts` or `layers` is empty, or `token` is unknown.
        ModelError: The model has no such block.
        FitError: A text has no tokens, or activations are not finite.
    """
    if token not in ("last", "mean"):
        raise InputError(f"unknown token {token!r}", "Use last or mean.")
    for name, given in (("texts", texts), ("layers", layers)):
        if isinstance(given, str) or not len(given):
            raise InputError(f"{name} is {given!r}", f"Give a list of {name}.")
    blocks = len(find_blocks(model))
    sites = {layer: Site(layer + blocks if layer < 0 else layer) for layer in layers}
    for site in sites.values():
        block_at(model, site.layer)
    rows = [Text(tuple(tokenizer(text)["input_ids"]), 0) for text in texts]
    states = read_states(model, rows, {token: set(sites.values())})[token]
    return {layer: states[site] for layer, site in sites.items()}
