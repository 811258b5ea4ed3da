"""Published figures of others, shown with measured ones: marked, and never tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from steereval.results.store.manifest import Task


@dataclass(frozen=True)
class Published:
    """One published figure."""

    method: str
    """As its authors call it."""
    value: float
    """In the metric's own unit."""
    spread: float | None
    """The authors' number after ±, in the same unit; None if they give none."""
    what: str
    """The measured quantity, in words."""
    source: str
    """Where it was published."""


def published_rows(task: Task, metric: str, model: str) -> list[Published]:
    """Figures of the benchmark that `task` is, on `model`; none for a stand-in of ours."""
    return [
        figure
        for table in _tables()
        if (table["benchmark"], table["metric"]) == (task.benchmark, metric)
        for figure in _of_model(table, model)
    ]


def _of_model(table: Mapping[str, Any], model: str) -> Iterator[Published]:
    name = _published_name(model)
    for method, figures in table["rows"].items():
        if name in figures:
            spread = table.get("spread", {}).get(method, {}).get(name)
            yield Published(
                method,
                figures[name] * table["scale"],
                None if spread is None else spread * table["scale"],
                table["what"],
                _file()["sources"][table["source"]],
            )


def _published_name(model: str) -> str | None:
    """A publication's name of the model; None for one that it does not have."""
    base_name = model.rstrip("/").rpartition("/")[2].casefold()
    return next((name for name, others in _file()["models"].items() if base_name in others), None)


def _tables() -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = _file()["tables"]
    return tables


@cache
def _file() -> dict[str, Any]:
    text = Path(__file__).with_name("published.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values
