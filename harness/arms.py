"""Several treatments of one model at once: which of them acts on which request.

lm-eval hands prompts through its tokenisation, sorting and batching untouched, so each prompt
carries with it what acts on it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.fitting import Treatment
from steereval.models.hooks import Intervention, Session, Tally
from steereval.models.positions import Positions


@dataclass(frozen=True)
class Act:
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
    moved: dict[str, Tally]
    """How far tokens were moved, by site."""


class Prompt(str):
    """The text of a prompt, and what acts on it under each treatment for which it is asked."""

    acts: tuple[Act, ...]
    draw: str
    """Names seed and request, whatever else is asked: what it draws at random depends on this."""


@dataclass(frozen=True)
class Arms:
    """Treatments laid out for some requests."""

    acts: Sequence[tuple[Act, ...]]
    """What happens to each request under each treatment."""
    interventions: Sequence[Intervention]
    """Those that act, as `Act.intervention` counts them."""
    owners: Sequence[int]
    """The treatment of each intervention."""

    @classmethod
    def of(cls, requests: Sequence[Instance], treatments: Sequence[Treatment]) -> Arms:
        """Route every request to the steerers that must not have seen its document."""
        indices: dict[tuple[int, int | None], int] = {}
        interventions: list[Intervention] = []
        owners: list[int] = []

        def act(arm: int, document: Any) -> Act:
            fold = treatments[arm].route(document)
            if (arm, fold) not in indices:
                intervention = treatments[arm].intervention(fold)
                indices[arm, fold] = len(interventions) if intervention.acts else -1
                if intervention.acts:
                    interventions.append(intervention)
                    owners.append(arm)
            return Act(indices[arm, fold], treatments[arm].positions)

        arms = range(len(treatments))
        acts = [tuple(act(arm, request.doc) for arm in arms) for request in requests]
        return cls(acts, interventions, owners)

    def moved(self, session: Session, arm: int) -> dict[str, Tally]:
        """How far one treatment moved tokens in `session`, by site."""
        found: dict[str, Tally] = {}
        for (index, site), tally in session.tallies.items():
            if self.owners[index] == arm:
                found.setdefault(str(site), Tally()).add(tally.tokens, float(tally.distance))
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


def carrying(request: Instance, acts: tuple[Act, ...], draw: str) -> Instance:
    """A copy of `request` whose prompt knows its `acts` and what it draws."""
    prompt = Prompt(request.args[0])
    prompt.acts, prompt.draw = acts, draw
    found = copy.copy(request)
    found.arguments = (prompt, *request.args[1:])
    return found
