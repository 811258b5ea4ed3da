"""Directions that come from a file: added, or clamped along. Nothing is fitted.

The formats are those of `steereval.models.vectors`: plain tensors, repeng's GGUF control vectors,
lm-eval's `steered` files and decoders of sparse autoencoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steereval.common.errors import InputError
from steereval.common.paths import expanded
from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.methods.clamp import Clamp
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.methods.method import Method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer, median_norm
from steereval.models.vectors.direction import Action, Direction
from steereval.models.vectors.read import Format, format_of, read_vectors

__all__ = ["Vector", "VectorOptions", "read_vectors", "steerers_from"]


@dataclass(frozen=True)
class VectorOptions:
    """Which file, and what to do with its directions where it does not say."""

    path: str = ""
    """The file; needed."""
    format: Format = "auto"
    """plain, gguf, steered or sae; auto goes by the file's name and content."""
    key: str | None = None
    """Names of plain tensors, with `{layer}` in place of the block's number, or of one tensor."""
    feature: int | None = None
    """Row of a sparse autoencoder's decoder."""
    action: Action = "add"
    """add or clamp, for the formats that do not say: all but steered."""
    value: float = 0.0
    """Value that the component along the direction is clamped to, for the same formats."""
    normalize: bool = False
    """Scale each vector to length 1 before its coefficient."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant, with a ValueError; `~` in the path is the home."""
        object.__setattr__(self, "path", expanded(self.path))
        if not self.path:
            raise ValueError(
                "option path is missing: name a .safetensors, .gguf, .npz, .npy, .pt or .pth file"
            )
        if self.value != 0 and self.action != "clamp":
            raise ValueError(f"value {self.value} is for clamps: set action to clamp as well")


class Vector(Method):
    """Adds or clamps along the directions of a file."""

    name = "vector"
    summary = "directions from a file (safetensors, GGUF, SAE, lm-eval's steered): added or clamped"
    fits = False
    kinds = (ConstantShift, Clamp)
    Options = VectorOptions

    def files(self, options: Any) -> tuple[Path, ...]:
        """The file of directions."""
        return (Path(options.path),)

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """As `from_file`; `data` only says where, and how large the activations are there."""
        steerers = self.from_file(data.sites, options)
        for site, steerer in steerers.items():
            part = data.at(site)
            steerer.check_width(part.positive.shape[1])
            norm = median_norm(part.positive, part.negative)
            steerers[site] = replace(steerer, median_norm=norm)
        return steerers

    def from_file(self, sites: Sequence[Site], options: Any) -> dict[Site, Steerer]:
        """Steerers at those of `sites` for which the file has a direction.

        They do not know the norm of activations, so they have no relative strengths. Raises
        InputError if the file has none of them.
        """
        directions = _directions(sites, options)
        chosen = {
            site: _as_asked(each, options) for site, each in directions.items() if site in sites
        }
        steerers = steerers_from(chosen)
        if not steerers:
            layers = ", ".join(map(str, directions))
            raise InputError(
                f"{options.path} moves nothing at layers {', '.join(map(str, sites))}",
                f"It has directions for layers {layers}." if layers else "All of it is zero.",
            )
        return steerers


def _directions(sites: Sequence[Site], options: VectorOptions) -> dict[Site, Direction]:
    """Directions of the file without zeros, by which some files leave a layer unsteered."""
    path = Path(options.path)
    format = format_of(path, options.format)
    if format == "steered" and options.action == "clamp":
        raise InputError(
            f"{path} says itself whether it adds or clamps",
            "Leave the options action and value out, or edit the file.",
        )
    vectors = read_vectors(path, format, options.feature, sites, options.key or "")
    return {site: each for site, each in vectors.items() if each.vector.any()}


def steerers_from(directions: Mapping[Site, Direction]) -> dict[Site, Steerer]:
    """A constant shift or a clamp for each direction; shifts by zero are left out.

    Raises InputError for a clamp along a vector of zeros.
    """
    steerers: dict[Site, Steerer] = {}
    for site, each in directions.items():
        if each.action == "clamp":
            steerers[site] = Clamp.along(each.vector, each.coefficient, each.bias)
            continue
        shift = each.vector * each.coefficient
        if shift.any():
            steerers[site] = ConstantShift(shift, dimension=len(shift))
    return steerers


def _as_asked(direction: Direction, options: VectorOptions) -> Direction:
    """`direction` with what the options say about it."""
    if options.action == "clamp":
        direction = replace(direction, action="clamp", coefficient=options.value)
    if options.normalize:
        unit = direction.vector.double() / direction.vector.double().norm()
        direction = replace(direction, vector=unit.float())
    return direction
