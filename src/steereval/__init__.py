"""A distributed evaluation harness for activation steering of language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steereval.models.artefacts.artefact import load_steerer
    from steereval.models.methods.fit import fit_steerer

__all__ = ["fit_steerer", "load_steerer"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: fitting needs torch, reading a run does not."""
    if name == "fit_steerer":
        from steereval.models.methods.fit import fit_steerer

        return fit_steerer
    if name == "load_steerer":
        from steereval.models.artefacts.artefact import load_steerer

        return load_steerer
    raise AttributeError(f"module 'steereval' has no attribute {name!r}")
