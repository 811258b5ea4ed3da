"""Results in an experiment tracker: Weights & Biases or trackio, which speak the same interface."""

from __future__ import annotations

import importlib
import math
from typing import Any, Final

from steereval.common.errors import InputError, StoreError
from steereval.common.text import first_line
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.writers.leaderboard_table import flat_table
from steereval.results.store.manifest import Manifest

TRACKERS: Final = ("wandb", "trackio")
"""Packages that results can be logged to; none of them is installed with this one."""

_FIGURES: Final = ("score", "difference", "difference_low", "difference_high", "p_adjusted", "mde")


def log_results(analysis: Analysis, manifest: Manifest, tracker: str, project: str) -> None:
    """Log the grid as configuration, a figure for each arm and metric, and the leaderboard.

    One run of the tracker, named as the grid is. Raises InputError for a tracker that is not
    known or not installed, and StoreError where it does not take the results.
    """
    module = _module(tracker)
    config = {n: getattr(manifest, n) for n in ("grid", "versions", "machine", "created")}
    table = flat_table(analysis.rows)
    try:
        module.init(project=project, name=analysis.plan.name, config=config)
        module.log(figures(analysis) | {"leaderboard": module.Table(dataframe=table.to_pandas())})
        module.finish()
    except Exception as error:  # what trackers raise has nothing in common
        raise StoreError(
            f"{tracker} did not take the results: {first_line(error)}",
            "Log in to it first, or set WANDB_MODE=offline for wandb.",
        ) from error


def figures(analysis: Analysis) -> dict[str, float]:
    """{"cells/done": ..., "model/task/metric/arm/score": ...}; what is not finite is left out."""
    cells = analysis.cells
    values = {
        f"cells/{name}": float(getattr(cells, name)) for name in ("planned", "done", "failed")
    }
    for row, known in zip(analysis.rows, flat_table(analysis.rows).to_pylist(), strict=True):
        place = "/".join(_part(part) for part in _names(row))
        for name in _FIGURES:
            value = known[name]
            if value is not None and math.isfinite(value):
                values[f"{place}/{name}"] = value
    return values


def _names(row: Row) -> tuple[str, ...]:
    return row.model, row.task.name, row.metric.name, row.name


def _part(text: str) -> str:
    """A name within a path of names."""
    return text.strip("/").replace("/", "_")


def _module(tracker: str) -> Any:
    if tracker not in TRACKERS:
        raise InputError(f"unknown tracker {tracker!r}", f"Known: {', '.join(TRACKERS)}.")
    try:
        return importlib.import_module(tracker)
    except ImportError as error:
        raise InputError(
            f"{tracker} is not installed", f"Run `pip install 'steereval[{tracker}]'`."
        ) from error
