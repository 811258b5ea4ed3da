"""Steering methods, and the means to fit them to activations and to apply them inside a model.

This package receives data and depends on no task, contrast set or evaluation harness.
"""

from __future__ import annotations

from steereval.models.artefacts.artefact import load_steerer
from steereval.models.methods.fit import fit_steerer
from steereval.models.methods.odesteer import odesteer_from_sketch

__all__ = ["fit_steerer", "load_steerer", "odesteer_from_sketch"]
