"""The grid file: what the rest of the program uses of it.

`specs` holds the models of its parts, `fields` their types, `load` reads and validates a file,
`checks` holds the rules that concern several parts.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from steereval.harness.config.checks import contrasts_of
from steereval.harness.config.fields import LayerSet
from steereval.harness.config.load import changed, load_grid, parse_grid
from steereval.harness.config.specs import (
    AnalysisSpec,
    ContrastSpec,
    DiagnoseSpec,
    Generation,
    Grid,
    JudgeSpec,
    MethodSpec,
    ModelSpec,
    NoiseFloorSpec,
    RunSpec,
    SeedsSpec,
    SelectSpec,
    TaskSpec,
)

__all__ = [
    "AnalysisSpec",
    "ContrastSpec",
    "DiagnoseSpec",
    "Generation",
    "Grid",
    "JudgeSpec",
    "LayerSet",
    "MethodSpec",
    "ModelSpec",
    "NoiseFloorSpec",
    "RunSpec",
    "SeedsSpec",
    "SelectSpec",
    "TaskSpec",
    "changed",
    "contrasts_of",
    "load_grid",
    "parse_grid",
    "plain",
]


def plain(spec: Any) -> Any:
    """A spec as plain values, fit for JSON and for `parse_grid`."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return {f.name: plain(getattr(spec, f.name)) for f in dataclasses.fields(spec)}
    if isinstance(spec, (list, tuple)):
        return [plain(item) for item in spec]
    if isinstance(spec, dict):
        return {key: plain(value) for key, value in spec.items()}
    return spec
