"""All that decides a fit, besides the contrast set and the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steereval.harness.planning.cell import Cell

TOKENS = {"last": "last token of the text", "mean": "mean over the tokens of the answer"}
"""Where activations can be taken, in words."""


@dataclass(frozen=True)
class Lower:
    """How the layers below act while the next one is fitted."""

    strength: float
    """Their strength in `unit`: the one at which the steerers will be used."""
    unit: str
    """`absolute` or `relative`."""
    positions: str
    """Which tokens they steer."""


@dataclass(frozen=True)
class FitRequest:
    """The settings of a fit, besides the contrast set and the model."""

    method: str
    """Name of the method."""
    options: Mapping[str, Any]
    """Its options."""
    layers: str
    """Blocks where it reads and acts: `14`, `12+14` or `all`."""
    template: str
    """`qa` or `chat`."""
    fraction: float
    """Share of the contrast's questions drawn."""
    seed: int
    """Fit seed."""
    lower: Lower | None = None
    """Fit layer by layer on activations that the layers below have already steered."""
    token: str = "last"
    """Which state stands for a text: that of its `last` token or the `mean` over its answer's."""

    def key(self, fold: int | None) -> str:
        """Distinguishes fits of one contrast set and model."""
        return json.dumps([dataclasses.asdict(self), fold], default=str, sort_keys=True)


def fit_request(cell: Cell) -> FitRequest:
    """The settings of the fit for a steered cell."""
    contrast, method = cell.contrast, cell.method
    return FitRequest(
        method.name,
        method.options,
        cell.layer,
        contrast.template if contrast else "qa",
        contrast.fraction if contrast else 1.0,
        cell.fit_seed or 0,
        Lower(cell.strength, method.unit, cell.positions) if method.incremental else None,
        contrast.token if contrast else "last",
    )
