"""Shapes of well-known models, for estimates where a model is not at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder that determine its work."""

    blocks: int
    """How many there are."""
    width: int
    """Of the residual stream."""
    vocabulary: int
    """Tokens in its vocabulary."""
    block_parameters: int
    """Parameters of one block."""

    @property
    def block_flops(self) -> int:
        """Operations of one block for a token, without attention scores: two a weight."""
        return 2 * self.block_parameters

    @property
    def output_flops(self) -> int:
        """Operations of the output layer for a token."""
        return 2 * self.vocabulary * self.width

    @property
    def flops(self) -> int:
        """Operations of the whole model for a token."""
        return self.blocks * self.block_flops + self.output_flops


def known_shape(name: str) -> Shape | None:
    """The shape of the model of that name or folder; None for one that is not known."""
    return _shapes().get(name.rstrip("/").rpartition("/")[2].casefold())


@cache
def _shapes() -> dict[str, Shape]:
    text = Path(__file__).with_name("known_shapes.yaml").read_text(encoding="utf-8")
    return {name: Shape(**values) for name, values in yaml.safe_load(text).items()}
