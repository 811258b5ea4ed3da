"""The treatment that the options of `--model_args` ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steereval.common.errors import InputError, nearest_remedy
from steereval.harness.config.model_args import Steering
from steereval.harness.engine.fit_request import TOKENS, FitRequest, Lower
from steereval.harness.engine.fitter import Fitter
from steereval.harness.engine.treatments import (
    Treatment,
    fitted,
    from_artefact,
    unfitted,
    unsteered,
)
from steereval.models.methods.registry import get_method
from steereval.models.steering.hook_points import check_sites
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import UNITS
from steereval.tasks.contrast.registry import load_contrast


def requested_treatment(
    steering: Steering, method_options: dict[str, Any], fitter: Fitter
) -> Treatment:
    """The treatment that model arguments ask for.

    Args:
        steering: The arguments that concern steering.
        method_options: Options of its method.
        fitter: Fits to the loaded model.

    Raises:
        InputError: An argument is unknown or missing.
        ModelError: The model lacks a site.
        ContrastError: The contrast set cannot be read.
    """
    positions = Positions(steering.positions)
    if steering.unit not in UNITS:
        raise InputError(f"unknown unit {steering.unit!r}", nearest_remedy(steering.unit, UNITS))
    fits = get_method(steering.method).fits
    if steering.steerer is None and steering.contrast is None and fits:
        if steering.strength or steering.method not in ("odesteer", "none"):
            raise InputError(
                f"method {steering.method} has nothing to be fitted to",
                "Add contrast=truthful-mini, or steerer=FOLDER.",
            )
        return unsteered()
    if steering.method == "none":
        return unsteered()
    if steering.strength is None:
        raise InputError("no strength was given", "Add strength=5.0; 0 is the unsteered model.")
    if steering.steerer is not None:
        folder = Path(steering.steerer)
        treatment = from_artefact(folder, steering.strength, steering.unit, positions)
        check_sites(fitter.reader.model, list(treatment.fit(None).steerers))
        return treatment
    return _fitted(steering, method_options, fitter, positions, float(steering.strength))


def _fitted(
    steering: Steering,
    method_options: dict[str, Any],
    fitter: Fitter,
    positions: Positions,
    strength: float,
) -> Treatment:
    if steering.layer is None:
        raise InputError("no layer was given", "Add layer=14 (0-based), layer=12+14, or layer=all.")
    lower = Lower(strength, steering.unit, positions.rule) if steering.incremental else None
    request = FitRequest(
        steering.method,
        method_options,
        str(steering.layer),
        steering.template,
        float(steering.fraction),
        int(steering.seed),
        lower,
        _token(steering.token),
    )
    fitter.sites(request)
    if not get_method(steering.method).fits:
        artefact = fitter.vector(request)
        return unfitted(artefact, steering.method, strength, steering.unit, positions)
    data_dir = Path(steering.data_dir) if steering.data_dir else None
    contrast = load_contrast(
        str(steering.contrast), data_dir=data_dir, answers=_answers(steering.answers)
    )
    return fitted(fitter, contrast, request, strength, steering.unit, positions)


def _token(value: str) -> str:
    if value not in TOKENS:
        raise InputError(f"unknown token {value!r}", f"Use {' or '.join(TOKENS)}.")
    return value


def _answers(value: str) -> Any:
    if value not in ("all", "best"):
        raise InputError(f"unknown answers {value!r}", "Use all or best.")
    return value
