"""Data that a method's steerers were fitted to, as the grid in the manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fitted:
    """A contrast set, and how it was used."""

    contrast: str
    """Its name, or the path of its file."""

    token: str
    """Where activations were taken: "last" or "mean"."""

    template: str
    """The text around question and answer."""

    fraction: float
    """Share of the questions that each fit seed draws."""


def fitted_to(
    grid: Mapping[str, Any], label: str | None = None, task: str | None = None
) -> Fitted | None:
    """Data that the method `label` was fitted to for `task`; None if the grid does not state it.

    The method's own contrast, else the task's, else the grid's; without a task the grid's, else
    that of the first task that has one.
    """
    tasks = [entry for entry in grid.get("tasks") or () if isinstance(entry, dict)]
    wanted = [entry.get("contrast") for entry in tasks if entry.get("name") == task]
    method_contrasts = [
        entry.get("contrast")
        for entry in grid.get("methods") or ()
        if isinstance(entry, dict) and (entry.get("label") or entry.get("name")) == label
    ]
    others = [entry.get("contrast") for entry in tasks] if task is None else []
    entry = next(filter(None, (*method_contrasts, *wanted, grid.get("contrast"), *others)), None)
    if entry is None:
        return None
    known = entry if isinstance(entry, dict) else {"name": entry}
    return Fitted(
        contrast=str(known.get("name")),
        token=str(known.get("token") or "last"),
        template=str(known.get("template") or "qa"),
        fraction=float(known.get("fraction", 1.0)),
    )
