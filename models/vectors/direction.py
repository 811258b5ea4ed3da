"""The direction of one site, as files of all formats give it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from steereval.common.errors import ArtefactError

Action = Literal["add", "clamp"]
"""Add a vector, or set the component along it to a value."""


@dataclass(frozen=True)
class Direction:
    """A vector, and what is to be done along it."""

    vector: Tensor
    """The direction, float32 [d], of any length."""
    action: Action = "add"
    """The operation: added, projected out, or clamped."""
    coefficient: float = 1.0
    """add: the factor of the vector. clamp: the value along the unit vector."""
    bias: Tensor | None = None
    """clamp: the point [d] from which the component is measured; None: the origin. Otherwise
    without effect."""


def as_vector(value: Any, name: str, path: Path) -> Tensor:
    """`value` as a float32 vector [d] of its own on the CPU.

    Raises ArtefactError, naming the tensor and its file, unless it is a finite vector of floats.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise unusable(path, f"{name} is {kind}, not a tensor of floats")
    if value.layout != torch.strided or value.device.type != "cpu":
        raise unusable(
            path, f"{name} is a {value.layout} tensor on {value.device}, not a plain one"
        )
    if value.ndim != 1 or not len(value):
        raise unusable(path, f"{name} has shape {tuple(value.shape)}, not that of a vector")
    try:
        vector = value.detach().to(torch.float32, copy=True)
    except NotImplementedError as error:
        raise unusable(path, f"{name} is {value.dtype}, which cannot be read as float32") from error
    if not bool(torch.isfinite(vector).all()):
        raise unusable(path, f"{name} has entries that are not finite in float32")
    return vector


def unusable(path: Path, why: str, remedy: str = "") -> ArtefactError:
    """An error for what `path` holds."""
    return ArtefactError(
        f"the vector file {path} cannot be used: {why}",
        remedy or "Make the file again, or see docs/methods/vector.md for what each format holds.",
    )
