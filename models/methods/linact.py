"""Linear activation transport: one-dimensional optimal transport in every dimension.

Rodriguez et al. 2025, "Controlling Language and Diffusion Models by Transporting Activations"
(arXiv 2410.23054). Where the code of Zhao et al. ignores the strength, T interpolates, T = 1 being
the published map. The paper fits layer by layer on activations that the layers below have already
moved: that is `incremental`, which methods that treat each layer alone have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from steereval.common.errors import FitError
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm


@dataclass(frozen=True)
class LinActOptions:
    """Where the map acts."""

    support: bool = False
    """Act only in dimensions where x lies within the range of the negative samples."""


@dataclass(frozen=True)
class DiagonalMap(Steerer):
    """x + T (w x + b - x) in every dimension."""

    method: ClassVar[str] = "diagonal_map"

    change: Tensor
    """w - 1, [d]."""
    source: Tensor
    """Mean of the negative class [d]."""
    between: Tensor
    """mean(P) - mean(N), [d]."""
    low: Tensor
    """Least value [d] that is moved; minus infinity where the support does not matter."""
    high: Tensor
    """Greatest value [d] that is moved."""

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """w x + b = x + (w - 1) (x - mean(N)) + mean(P) - mean(N)."""
        centred = x - self.source.to(x.dtype)
        step = torch.addcmul(self.between.to(x.dtype), self.change.to(x.dtype), centred)
        inside = (x >= self.low.to(x.dtype)) & (x <= self.high.to(x.dtype))
        return x + strength * step * inside


class LinAct(SiteMethod):
    """Least squares between the sorted samples of the classes."""

    name = "linact"
    summary = "linear activation transport: w x + b in every dimension"
    kinds = (DiagonalMap,)
    Options = LinActOptions

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """w = sum(s t) / sum(s^2) over sorted centred samples, b = mean(P) - w mean(N)."""
        positive, negative = data.positive.double(), data.negative.double()
        target, source = positive.mean(dim=0), negative.mean(dim=0)
        _refuse_constant(negative, data)
        count = max(len(positive), len(negative))
        s = quantiles(negative - source, count)
        t = quantiles(positive - target, count)
        slope = (s * t).sum(dim=0) / (s * s).sum(dim=0)
        if bool(((slope - 1).abs().max() < 1e-12) & ((target - source).abs().max() < 1e-12)):
            raise FitError(
                "the two classes are distributed the same, so linact has nothing to move",
                "Check that the contrast's positive and negative texts differ.",
            )
        limit = torch.full_like(source, torch.inf)
        return DiagonalMap(
            change=(slope - 1).float(),
            source=source.float(),
            between=(target - source).float(),
            low=(negative.amin(dim=0) if options.support else -limit).float(),
            high=(negative.amax(dim=0) if options.support else limit).float(),
            dimension=len(source),
            median_norm=median_norm(data.positive, data.negative),
        )


def _refuse_constant(negative: Tensor, data: SiteData) -> None:
    constant = (negative == negative[0]).all(dim=0).nonzero()[:, 0].tolist()
    if constant:
        raise FitError(
            f"{len(constant)} dimensions of the negative activations at layer {data.site} do not "
            f"vary (the first is {constant[0]}), so linact has no slope there",
            "Give more samples, or another layer.",
        )


def quantiles(rows: Tensor, count: int) -> Tensor:
    """`count` evenly spaced quantiles [count, d] of each column of rows [n, d], sorted.

    With count = n they are the sorted rows themselves.
    """
    ordered = rows.sort(dim=0).values
    if count == len(rows):
        return ordered
    place = (torch.arange(count, dtype=rows.dtype) + 0.5) / count * len(rows) - 0.5
    place = place.clamp(0, len(rows) - 1)
    lower = place.floor().long()
    upper = (lower + 1).clamp_max(len(rows) - 1)
    share = (place - lower)[:, None]
    return ordered[lower] * (1 - share) + ordered[upper] * share
