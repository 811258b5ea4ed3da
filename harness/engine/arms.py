"""Several treatments of one model at once: which of them acts on which request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.common.errors import CellError
from steereval.harness.engine.treatments import Treatment
from steereval.models.steering.displacement_stats import DisplacementStats
from steereval.models.steering.hooks import Session
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions


@dataclass(frozen=True)
class TokenSteering:
    """Steering of a request under one treatment."""

    intervention: int
    """Index of the intervention that acts on it, -1 for none."""
    positions: Positions
    """Which of its tokens are steered."""


@dataclass(frozen=True)
class Answers:
    """Answers of the model under one treatment."""

    values: list[Any]
    """The answers, in the order of the requests."""
    moved: dict[str, DisplacementStats]
    """How far tokens were moved, by site."""
    acts: bool
    """Whether the treatment acts on some of the requests."""


NOTHING = TokenSteering(-1, Positions("generated"))
"""No steering."""


@dataclass(frozen=True)
class Arms:
    """Treatments laid out for some requests."""

    steerings: Sequence[tuple[TokenSteering, ...]]
    """Steering of each request under each treatment."""
    interventions: Sequence[Intervention]
    """Those that act, as `TokenSteering.intervention` counts them."""
    arm_indices: Sequence[int]
    """Index of the treatment of each intervention."""

    @classmethod
    def of(cls, requests: Sequence[Instance], treatments: Sequence[Treatment]) -> Arms:
        """Route every request to the steerers that must not have seen its document."""
        indices: dict[tuple[int, int | None], int] = {}
        interventions: list[Intervention] = []
        arm_indices: list[int] = []

        def steering(arm: int, document: Any) -> TokenSteering:
            fold = treatments[arm].route(document)
            if (arm, fold) not in indices:
                intervention = treatments[arm].intervention(fold)
                indices[arm, fold] = len(interventions) if intervention.acts else -1
                if intervention.acts:
                    interventions.append(intervention)
                    arm_indices.append(arm)
            return TokenSteering(indices[arm, fold], treatments[arm].positions)

        arms = range(len(treatments))
        steerings = [tuple(steering(arm, each.doc) for arm in arms) for each in requests]
        return cls(steerings, interventions, arm_indices)

    def acts(self, arm: int) -> bool:
        """Whether an intervention acts on some request under one treatment."""
        return any(row[arm].intervention >= 0 for row in self.steerings)

    def moved(self, session: Session, arm: int) -> dict[str, DisplacementStats]:
        """How far one treatment moved tokens in `session`, by site."""
        by_site: dict[str, DisplacementStats] = {}
        for (index, site), stats in session.displacements.items():
            if self.arm_indices[index] == arm:
                by_site.setdefault(str(site), DisplacementStats()).add(
                    stats.tokens, float(stats.distance)
                )
        return by_site


def check_steered(label: str, positions: str, moved: Iterable[DisplacementStats]) -> None:
    """Check that a treatment that acts steered some token.

    Args:
        label: Names the treatment.
        positions: The rule that chooses its tokens.
        moved: How far it moved tokens, at each site and for every kind of request.

    Raises:
        CellError: It steered none, so that the answers are those of the unsteered model.
    """
    if sum(stats.tokens for stats in moved) == 0:
        raise CellError(
            f"{label} steered no token of any request: positions {positions!r} select none",
            "Choose other positions, such as generated.",
        )
