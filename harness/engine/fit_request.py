"""The fit that a steered cell asks for."""

from __future__ import annotations

from steereval.harness.engine.fitter import FitRequest, Lower
from steereval.harness.planning.cell import Cell


def fit_request(cell: Cell) -> FitRequest:
    """What the steerers of a steered cell are fitted with."""
    contrast, method = cell.contrast, cell.method
    return FitRequest(
        method.name,
        method.options,
        cell.layer,
        contrast.template if contrast else "qa",
        contrast.fraction if contrast else 1.0,
        cell.fit_seed or 0,
        Lower(cell.strength, method.unit, cell.positions) if method.incremental else None,
        contrast.token if contrast else "last",
    )
