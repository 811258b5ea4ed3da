"""Departures of a grid from its tasks' definitions: limits, examples, options of generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steereval.results.store.manifest import Manifest


def departures(manifest: Manifest) -> Iterator[str]:
    """A sentence for every task that the grid does not run just as its authors define it."""
    for task in manifest.grid.get("tasks") or ():
        if isinstance(task, Mapping):
            name = str(task.get("name"))
            described = manifest.tasks.get(name)
            if parts := list(_of_task(task, described.documents if described else None)):
                yield f"{name}: {'; '.join(parts)}."


def _of_task(task: Mapping[str, Any], documents: int | None) -> Iterator[str]:
    limit = task.get("limit")
    if limit is not None and (documents is None or limit < documents):
        whole = "" if documents is None else f" of {documents}"
        yield f"the first {limit}{whole} items (`limit`)"
    if (examples := task.get("num_fewshot")) is not None:
        plural = "example" if examples == 1 else "examples"
        yield f"{examples} {plural} in the prompt (`num_fewshot`)"
    if options := task.get("generation"):
        listed = ", ".join(f"{name} {_plain(value)}" for name, value in options.items())
        yield f"generation with {listed}"


def _plain(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
