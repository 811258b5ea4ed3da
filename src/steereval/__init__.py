"""A distributed evaluation harness for activation steering of language models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steereval.models.artefacts.artefact import load_steerer
    from steereval.models.inference.collect import collect_activations
    from steereval.models.inference.steering import steering
    from steereval.models.methods.fit import fit_steerer

__all__ = ["collect_activations", "fit_steerer", "load_steerer", "steering"]

_MODULES = {
    "collect_activations": "steereval.models.inference.collect",
    "fit_steerer": "steereval.models.methods.fit",
    "load_steerer": "steereval.models.artefacts.artefact",
    "steering": "steereval.models.inference.steering",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: fitting needs torch, reading a run does not."""
    if name not in _MODULES:
        raise AttributeError(f"module 'steereval' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
