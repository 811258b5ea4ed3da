"""Which model of a run gave the samples that lm-eval wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence

from steereval.common.errors import InputError
from steereval.harness.assets import ASSETS
from steereval.results.lm_eval.sample_files import SampleFile
from steereval.results.store.manifest import Plan


def model_of(files: Sequence[SampleFile], plan: Plan, model: str | None) -> str:
    """The run's name of the model in `files`; `asked`, if the user says which it is.

    A model is known again by its name, or by the folder that its name stands for. Raises
    InputError if no model of the run is known to be the one that lm-eval ran.
    """
    if model is not None:
        return model
    known = list(dict.fromkeys(cell.model for cell in plan.cells))
    for name in known:
        if all(file.model is not None and _is_same(name, file.model) for file in files):
            return name
    named = sorted({file.model or "a model that no results file names" for file in files})
    raise InputError(
        f"lm-eval ran {', '.join(named)}, and the run has {', '.join(known)}",
        "If it is one of these, say which with --model.",
    )


def _is_same(name: str, other: str) -> bool:
    return name == other or os.path.realpath(_place(name)) == os.path.realpath(_place(other))


def _place(name: str) -> str:
    """Where a bundled model lies; else the name, which may be a folder."""
    asset = ASSETS.get(name)
    return str(asset.folder) if asset is not None and asset.kind == "model" else name
