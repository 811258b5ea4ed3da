"""What the grid sets otherwise than its tasks do: limits, examples, options of generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def departures(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for every task that the grid does not run just as its authors define it."""
    grid = manifest.get("grid") or {}
    described = manifest.get("tasks") or {}
    for task in grid.get("tasks") or ():
        if isinstance(task, Mapping):
            parts = list(_of_task(task, described.get(task.get("name")) or {}))
            if parts:
                yield f"{task.get('name')}: {'; '.join(parts)}."


def _of_task(task: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[str]:
    limit, documents = task.get("limit"), described.get("documents")
    if limit is not None and (documents is None or limit < documents):
        whole = "" if documents is None else f" of {documents}"
        yield f"the first {limit}{whole} items (`limit`)"
    if (examples := task.get("num_fewshot")) is not None:
        plural = "example" if examples == 1 else "examples"
        yield f"{examples} {plural} in the prompt (`num_fewshot`)"
    if options := task.get("generation"):
        told = ", ".join(f"{name} {_plain(value)}" for name, value in options.items())
        yield f"generation with {told}"


def _plain(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
