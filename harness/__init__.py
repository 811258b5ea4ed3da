"""steereval: a distributed evaluation harness for activation steering of language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steereval.models.artefact import load_steerer
    from steereval.models.fit import fit_steerer

__all__ = ["fit_steerer", "load_steerer"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: they need torch, the tables do not."""
    if name == "fit_steerer":
        from steereval.models.fit import fit_steerer

        return fit_steerer
    if name == "load_steerer":
        from steereval.models.artefact import load_steerer

        return load_steerer
    raise AttributeError(f"module 'steereval' has no attribute {name!r}")
