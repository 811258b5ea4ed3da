"""No steering: the baseline of every comparison."""

from __future__ import annotations

from typing import Any

from steereval.models.fitting.contrast_data import ContrastData
from steereval.models.methods.method import Method
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer


class Unsteered(Method):
    """Fits nothing and acts nowhere, so the model runs as it is."""

    name = "none"
    summary = "the unsteered model: the baseline"

    def fit(self, data: ContrastData, options: Any, seed: int) -> dict[Site, Steerer]:
        """No site is steered."""
        return {}
