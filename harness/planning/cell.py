"""A cell of the grid and its identity."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from steereval.harness.config.fields import OMITTED, Part
from steereval.harness.config.grid import ContrastSpec, MethodSpec, ModelSpec, TaskSpec, plain
from steereval.models.methods.registry import package_of
from steereval.results.store.cell_record import PlannedCell
from steereval.results.store.identity import id_of

IDENTITY_VERSION = 6
"""Counts changes to what `Cell.identity` holds, and to how items are named; part of every id."""


@dataclass(frozen=True)
class Cell:
    """One evaluation: a model, steered in one way, on one task."""

    model: ModelSpec
    """The model, with the one set of layers that is steered (none for the unsteered model)."""
    method: MethodSpec
    """The method, with at most one strength."""
    contrast: ContrastSpec | None
    """Contrast set that the steerer is fitted to; None if it is not fitted."""
    files_digest: str
    """Hash of the files that it reads: a contrast given by path, a vector; empty if none."""
    task: TaskSpec
    """The task."""
    positions: str
    """Which tokens are steered; empty for the unsteered model."""
    fit_seed: int | None
    """Seed of the fit; None where nothing is drawn."""
    sample_seed: int
    """Seed of sampled generation."""
    fewshot_seed: int
    """Seed of the few-shot examples."""
    validation_share: float
    """Share of the items set aside for choosing the strength."""
    is_repeat: bool = False
    """Whether it computes a second time what another cell does, to see what is noise."""

    @property
    def strength(self) -> float:
        """The strength; 0 for the unsteered model."""
        return self.method.strengths[0] if self.method.strengths else 0.0

    @property
    def label(self) -> str:
        """The method's name in tables; a repetition, not being a method, has its own."""
        name = self.method.label or self.method.name
        return f"{name} (repeated)" if self.is_repeat else name

    @property
    def layer(self) -> str:
        """The steered layers in rows, such as `14` or `12+14`; empty for the unsteered model."""
        return self.model.layers[0] if self.model.layers else ""

    @property
    def package(self) -> str:
        """Package and version that the method comes from; empty for built-in ones."""
        return package_of(self.method.name)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what the cell computes, as plain values."""
        optional: dict[str, Any] = {"package": self.package} if self.package else {}
        optional |= {"repeat": True} if self.is_repeat else {}
        return optional | {
            "version": IDENTITY_VERSION,
            "model": _identity_of(self.model),
            "method": _identity_of(self.method),
            "contrast": _identity_of(self.contrast) if self.contrast else None,
            "files_digest": self.files_digest,
            "task": _identity_of(self.task),
            "positions": self.positions,
            "fit_seed": self.fit_seed,
            "sample_seed": self.sample_seed,
            "fewshot_seed": self.fewshot_seed,
            "validation_share": self.validation_share,
        }

    @property
    def id(self) -> str:
        """Hash of the identity: 16 hexadecimal digits."""
        return id_of(self.identity)

    @property
    def arm(self) -> str:
        """Hash of model, treatment and seeds without the task: 16 hexadecimal digits."""
        return id_of({name: value for name, value in self.identity.items() if name != "task"})

    def summary(self) -> dict[str, Any]:
        """The columns by which rows name the cell."""
        return self.planned().columns()

    def planned(self) -> PlannedCell:
        """The cell's entry in the manifest."""
        first = {"repeats": dataclasses.replace(self, is_repeat=False).id} if self.is_repeat else {}
        return PlannedCell(
            cell_id=self.id,
            model=self.model.name,
            method=self.label,
            strength=self.strength,
            layer=self.layer,
            task=self.task.name,
            fit_seed=self.fit_seed,
            sample_seed=self.sample_seed,
            fewshot_seed=self.fewshot_seed,
            **first,
        )

    def __str__(self) -> str:
        """A short name for progress and errors."""
        seed = "" if self.fit_seed is None else f" seed {self.fit_seed}"
        steering = "" if not self.layer else f" T={self.strength:g} layer {self.layer}{seed}"
        return f"{self.label}{steering} on {self.task.name}, {self.model.name}"


def _identity_of(spec: Any) -> dict[str, Any]:
    """The fields of a spec that are part of a cell's identity."""
    identity = {}
    for name, field in spec.__pydantic_fields__.items():
        value = getattr(spec, name)
        is_left_out = OMITTED in field.metadata and value == field.get_default(
            call_default_factory=True
        )
        if (
            Part.IDENTITY in field.metadata
            and not isinstance(value, ContrastSpec)
            and not is_left_out
        ):
            identity[name] = plain(value)
    return identity
