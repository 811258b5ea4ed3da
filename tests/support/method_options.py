"""Options with which each method is quick to fit in tests."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "odesteer": {"components": 128, "steps": 4},
    "step_odesteer": {"components": 128},
    "rff_odesteer": {"components": 128, "steps": 4},
    "gradient_ascent": {"components": 128, "steps": 4},
    "iti_heads": {"heads": 2},
    "hpr": {"epochs": 2},
    "re_control": {"epochs": 2, "hidden": 16, "steps": 3},
    "truthflow": {"epochs": 2, "components": 4, "steps": 3},
}
