"""Fitted steerers: the protocol that hooks, artefacts and engines rely on.

A steerer is frozen; its tensors, settings and inner steerers are its fields. Simple ones map
activations to activations; those that decide per query first look at the state of the prompt's
last token (`begin`) and are handed what they decided with every later token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from steereval.common.errors import InputError

UNITS = ("absolute", "relative", "displacement")
"""`absolute`: the method's own. `relative`: displaces by so many median norms, where displacement
is proportional to strength. `displacement`: the mean displacement in median norms, matched on the
activations of the fit (`displacement`)."""


STORED_NAMES = {"median_norm": "typical_norm"}
"""Fields that artefacts hold under an earlier name, so that files and hashes stay as they are."""


@dataclass(frozen=True)
class Steerer(ABC):
    """A fitted steerer for one site: frozen, its tensors and settings being its fields."""

    method: ClassVar[str]
    """Name of the class in artefacts."""
    per_query: ClassVar[bool] = False
    """Whether `apply` needs the state that `begin` returns."""

    dimension: int = field(kw_only=True)
    """Width of the activations."""
    median_norm: float = field(kw_only=True, default=0.0)
    """Median norm of the activations that it was fitted to; 0 where unknown."""

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """Steer activations x [..., d] of any one query; shape, dtype and device are kept."""
        if self.per_query:
            raise InputError(
                f"{self.method} decides per query, so it cannot be called on activations alone",
                "Call begin(prompt_states, row_keys), then apply(x, strength, state).",
            )
        return self.apply(x, strength)

    def begin(self, prompt_states: Tensor, row_keys: Sequence[str]) -> Tensor | None:
        """Decide on queries by the state of their last prompt token.

        `prompt_states` [q, d]; `row_keys` names each query, for draws that must not depend on
        the batch. Returns a tensor whose first dimension is the query, or None.
        """
        return None

    def apply(self, x: Tensor, strength: float, state: Tensor | None = None) -> Tensor:
        """Steer activations x [..., d]; `state` holds the state of each token's query [..., k].

        Strength 0 is the identity, exactly. The arithmetic is in float32 at least.
        """
        self.check_width(x.shape[-1])
        if strength == 0:
            return x
        wide = x if x.dtype == torch.float64 else x.float()
        return self.move(wide, strength, state).to(x.dtype)

    def check_width(self, width: int) -> None:
        """Raise InputError unless activations of `width` are what it was fitted to."""
        if width != self.dimension:
            raise InputError(
                f"activations of dimension {width} were given to a {self.method} steerer "
                f"of dimension {self.dimension}",
                "Use the steerer with the model and site that it was fitted to.",
            )

    @abstractmethod
    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """The steered activations, in the dtype of x (float32 or float64); strength is not 0."""

    def shift(self, strength: float) -> Tensor | None:
        """The vector [d] that is added to every activation; None where it depends on them."""
        return None

    @property
    def keeps_norm(self) -> bool:
        """Whether |y| = |x| by construction."""
        return False

    def strength_of_one_norm(self) -> float | None:
        """The absolute strength that displaces by the median norm; None if there is none."""
        return None

    def absolute_strength(self, strength: float, unit: str) -> float:
        """`strength` given in `unit`, absolute or relative, in the method's own unit.

        A relative strength of 1 displaces by the median norm of the fitted activations. Raises
        InputError for methods whose displacement is not proportional to the strength.
        """
        if unit == "absolute" or strength == 0:
            return strength
        if unit == "displacement":
            raise InputError(
                "a displacement must be matched on the activations of a fit, which are not here",
                "Use absolute strengths, or fit the method to a contrast.",
            )
        scale = self.strength_of_one_norm()
        if scale is None:
            raise InputError(
                f"{self.method} has no relative strengths",
                "They exist for methods that displace along a direction or a flow; use absolute.",
            )
        if self.median_norm <= 0:
            raise InputError(
                f"this {self.method} steerer does not know the norm of its activations",
                "Only a fitted steerer has relative strengths; use absolute.",
            )
        return strength * scale

    def save(self, folder: str | Path, layer: int = 0) -> None:
        """Write this steerer to a folder, which `load_steerer` and `steerer=FOLDER` read.

        Args:
            folder: A new or empty folder, or that of a steerer, which is replaced.
            layer: 0-based block that it steers.

        Raises:
            StoreError: The folder holds anything else, or cannot be written.
        """
        # Artefacts know all kinds of steerers, so they stand above this module.
        from steereval.models.artefacts.artefact import Artefact, save_artefact
        from steereval.models.steering.hook_points import Site

        save_artefact(Artefact({Site(layer): self}, {}), Path(folder))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; those of an inner steerer or a list as `name.inner`, `name.0`."""
        tensors: dict[str, Tensor] = {}
        for name, value in self._values().items():
            if isinstance(value, Tensor):
                tensors[name] = value
            elif isinstance(value, Steerer):
                tensors |= {f"{name}.{inner}": part for inner, part in value.tensors().items()}
            elif _is_list_of_tensors(value):
                tensors |= {f"{name}.{index}": part for index, part in enumerate(value)}
        return tensors

    def settings(self) -> dict[str, Any]:
        """All fields that hold no tensor, fit for JSON, by the name under which artefacts store
        them; an inner steerer with its `kind`."""
        settings: dict[str, Any] = {}
        for name, value in self._values().items():
            stored = STORED_NAMES.get(name, name)
            if isinstance(value, Steerer):
                settings[stored] = {"kind": value.method, **value.settings()}
            elif not isinstance(value, Tensor) and not _is_list_of_tensors(value):
                settings[stored] = value
        return settings

    def to(self, device: torch.device) -> Self:
        """The same steerer with its tensors on `device`."""
        if all(tensor.device == device for tensor in self.tensors().values()):
            return self
        moved: dict[str, Any] = {}
        for name, value in self._values().items():
            if isinstance(value, (Tensor, Steerer)):
                moved[name] = value.to(device)
            elif _is_list_of_tensors(value):
                moved[name] = tuple(part.to(device) for part in value)
        return replace(self, **moved)

    def _values(self) -> dict[str, Any]:
        return {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.init}


def _is_list_of_tensors(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Tensor)


def median_norm(positive: Tensor, negative: Tensor) -> float:
    """Median norm of the rows of both classes."""
    return float(torch.cat([positive, negative]).double().norm(dim=1).median())
