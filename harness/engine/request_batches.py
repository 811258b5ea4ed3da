"""Several treatments of one model at once: which of them acts on which request.

lm-eval tokenises, sorts and batches the requests. What acts on a request does not travel with its
text, which lm-eval may copy, but waits in `WaitingPrompts` until the text comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.common.errors import CellError
from steereval.harness.engine.fitter import Treatment
from steereval.models.steering.displacement_stats import DisplacementStats
from steereval.models.steering.hooks import Session
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions


@dataclass(frozen=True)
class TokenSteering:
    """What happens to a request under one treatment."""

    intervention: int
    """Index of the intervention that acts on it, -1 for none."""
    positions: Positions
    """Which of its tokens are steered."""


@dataclass(frozen=True)
class Answers:
    """What the model answered under one treatment."""

    values: list[Any]
    """The answers, in the order of the requests."""
    moved: dict[str, DisplacementStats]
    """How far tokens were moved, by site."""
    acts: bool
    """Whether the treatment acts on some of the requests."""


@dataclass(frozen=True)
class Prompt:
    """A request on its way through lm-eval."""

    key: Any
    """What lm-eval hands back: the text of a prompt to generate from, or (prompt, continuation)."""
    steerings: tuple[TokenSteering, ...]
    """What acts on it under each treatment for which it is asked."""
    noise_key: str = ""
    """Names seed and request, whatever else is asked: what it draws at random depends on this."""


class WaitingPrompts:
    """Prompts that were handed to lm-eval, until it hands their texts on to the model.

    Requests with the same text wait in a line: lm-eval keeps their order, since its sort is
    stable.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        """Let `prompts` wait, in the order in which lm-eval is given them."""
        self._lines: dict[Any, deque[Prompt]] = {}
        for prompt in prompts:
            self._lines.setdefault(prompt.key, deque()).append(prompt)

    def take(self, keys: Iterable[Any]) -> list[Prompt]:
        """The prompts of texts that lm-eval hands on.

        Raises:
            CellError: A text is not the text of a waiting prompt, so that what acts on it is not
                known.
        """
        found = []
        for key in keys:
            line = self._lines.get(key)
            if not line:
                raise CellError(
                    f"lm-eval asks for a text that no request holds: {_shortened(key)}",
                    "It changed the text on the way; steereval works with lm-eval 0.4.13.",
                )
            found.append(line.popleft())
        return found

    def check_empty(self) -> None:
        """Check that lm-eval handed on every prompt.

        Raises:
            CellError: Some are still waiting.
        """
        left = [key for key, line in self._lines.items() for _ in line]
        if left:
            raise CellError(
                f"lm-eval left out {len(left)} requests, the first being {_shortened(left[0])}",
                "It changed the requests on the way; steereval works with lm-eval 0.4.13.",
            )


def check_steered(label: str, positions: str, moved: Iterable[DisplacementStats]) -> None:
    """Check that a treatment that acts steered some token.

    Args:
        label: Names the treatment.
        positions: The rule that chooses its tokens.
        moved: How far it moved tokens, at each site and for every kind of request.

    Raises:
        CellError: It steered none, so that the answers are those of the unsteered model.
    """
    if sum(tally.tokens for tally in moved) == 0:
        raise CellError(
            f"{label} steered no token of any request: positions {positions!r} select none",
            "Choose other positions, such as generated.",
        )


def _shortened(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Arms:
    """Treatments laid out for some requests."""

    steerings: Sequence[tuple[TokenSteering, ...]]
    """What happens to each request under each treatment."""
    interventions: Sequence[Intervention]
    """Those that act, as `TokenSteering.intervention` counts them."""
    owners: Sequence[int]
    """The treatment of each intervention."""

    @classmethod
    def of(cls, requests: Sequence[Instance], treatments: Sequence[Treatment]) -> Arms:
        """Route every request to the steerers that must not have seen its document."""
        indices: dict[tuple[int, int | None], int] = {}
        interventions: list[Intervention] = []
        owners: list[int] = []

        def steering(arm: int, document: Any) -> TokenSteering:
            fold = treatments[arm].route(document)
            if (arm, fold) not in indices:
                intervention = treatments[arm].intervention(fold)
                indices[arm, fold] = len(interventions) if intervention.acts else -1
                if intervention.acts:
                    interventions.append(intervention)
                    owners.append(arm)
            return TokenSteering(indices[arm, fold], treatments[arm].positions)

        arms = range(len(treatments))
        steerings = [tuple(steering(arm, each.doc) for arm in arms) for each in requests]
        return cls(steerings, interventions, owners)

    def acts(self, arm: int) -> bool:
        """Whether an intervention acts on some request under one treatment."""
        return any(row[arm].intervention >= 0 for row in self.steerings)

    def moved(self, session: Session, arm: int) -> dict[str, DisplacementStats]:
        """How far one treatment moved tokens in `session`, by site."""
        found: dict[str, DisplacementStats] = {}
        for (index, site), tally in session.tallies.items():
            if self.owners[index] == arm:
                found.setdefault(str(site), DisplacementStats()).add(
                    tally.tokens, float(tally.distance)
                )
        return found


def item_keys(requests: Sequence[Instance]) -> list[str]:
    """A name for each request, from its document, its number there, and how often it came."""
    seen: Counter[str] = Counter()
    keys = []
    for request in requests:
        document = json.dumps(request.doc, sort_keys=True, default=str)
        key = hashlib.sha256(f"{request.idx} {document}".encode()).hexdigest()[:16]
        keys.append(f"{key} {seen[key]}")
        seen[key] += 1
    return keys
