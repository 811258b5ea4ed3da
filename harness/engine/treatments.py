"""Treatments: the steerers that act on each document, and how strongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steereval.common.errors import ContrastError, InputError
from steereval.harness.engine.fit_request import FitRequest
from steereval.harness.engine.fitter import Fitter
from steereval.models.artefacts.artefact import QUESTIONS, Artefact, load_artefact
from steereval.models.steering.hook_points import Site
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.tasks.contrast.registry import ContrastSet, question_key


@dataclass(frozen=True)
class Treatment:
    """Treatments: which steerers act on which document."""

    label: str
    """Names it in errors."""
    strength: float
    """Strength in `unit`."""
    unit: str
    """`absolute`, `relative` or `displacement`."""
    positions: Positions
    """Which tokens are steered."""
    fit: Callable[[int | None], Artefact]
    """Steerers fitted without a fold; called with None for documents outside the contrast."""
    fold_of: Callable[[str], int | None]
    """Fold of a question, None if the contrast does not hold it."""
    matched: Callable[[int | None], Mapping[Site, float]] | None = None
    """Strength by site for the unit `displacement`, of the steerers of a fold."""

    def route(self, document: Any) -> int | None:
        """The fold whose steerer must not have seen `document`: cross-fitting, without which a
        benchmark built from the contrast's own questions would be tested on its training set."""
        if self.strength == 0:
            return None
        question = document.get("question") if isinstance(document, dict) else None
        return self.fold_of(question) if isinstance(question, str) else None

    def intervention(self, fold: int | None) -> Intervention:
        """The intervention on documents of `fold`."""
        if self.strength == 0:
            return Intervention({}, 0.0)
        matched = self.matched(fold) if self.matched is not None else None
        return Intervention(self.fit(fold).steerers, self.strength, self.unit, self.label, matched)


def unsteered() -> Treatment:
    """The model as it is."""
    nothing = Artefact({}, {})
    return Treatment(
        "none", 0.0, "absolute", Positions("generated"), lambda _: nothing, lambda _: None
    )


def fitted(
    fitter: Fitter,
    contrast: ContrastSet,
    request: FitRequest,
    strength: float,
    unit: str,
    positions: Positions,
) -> Treatment:
    """Steerers that are fitted when first needed, cross-fitted where the contrast has folds."""

    def matched(fold: int | None) -> Mapping[Site, float]:
        artefact = fitter.fit(contrast, request, fold)
        return fitter.matched(contrast, contrast.training(fold), request, artefact, strength)

    return Treatment(
        f"{request.method} at strength {strength:g}",
        strength,
        unit,
        positions,
        lambda fold: fitter.fit(contrast, request, fold),
        folds_of(contrast),
        matched if unit == "displacement" else None,
    )


def folds_of(contrast: ContrastSet) -> Callable[[str], int | None]:
    """The fold of each question, None where `contrast` does not hold it.

    The function raises ContrastError for a question that a contrast without folds does hold.
    """

    def fold_of(question: str) -> int | None:
        key = question_key(question)
        if contrast.n_folds == 1 and key in contrast.keys:
            raise ContrastError(
                f"contrast set {contrast.name} holds the question {question!r}, which is tested",
                "Remove the task's own questions from it: a test on them would mean nothing.",
            )
        return contrast.fold_of(key)

    return fold_of


def from_artefact(folder: Path, strength: float, unit: str, positions: Positions) -> Treatment:
    """Steerers from disk; they act on every document alike.

    Routing a document raises ContrastError for a question that they were fitted to.
    """
    artefact = load_artefact(folder)
    treatment = unfitted(artefact, f"steerer {folder}", strength, unit, positions)
    fitted_to = frozenset(map(str, artefact.card.get(QUESTIONS, ())))

    def fold_of(question: str) -> None:
        if question_key(question) in fitted_to:
            raise ContrastError(
                f"the steerer {folder} was fitted to the question {question!r}, which is tested",
                "Give `method` and `contrast` in place of `steerer`: questions are then scored by "
                "steerers fitted without their fold.",
            )

    return replace(treatment, fold_of=fold_of)


def unfitted(
    artefact: Artefact, name: str, strength: float, unit: str, positions: Positions
) -> Treatment:
    """Steerers that are there already; they act on every document alike."""
    if unit == "displacement" and strength:
        raise InputError(
            f"{name} was fitted elsewhere, so there are no activations to match a displacement on",
            "Use absolute strengths, or fit the method to a contrast.",
        )
    label = f"{name} at strength {strength:g}"
    return Treatment(label, strength, unit, positions, lambda _: artefact, lambda _: None)
