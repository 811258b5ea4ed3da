"""In how many models, or tasks, an improvement replicates: in one voice with the verdicts.

The p-values that are counted are those of the verdicts, adjusted within each model's confirmatory
family. So a claim of k places never stands where fewer than k verdicts say "better".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import IMPROVEMENTS, oriented
from steereval.results.stats import partial_conjunction
from steereval.results.stats.effect import Floats

MODELS = "models"
TASKS = "tasks"


@dataclass(frozen=True)
class Replication:
    """An arm's improvements over several places: models on one task, or target tasks of a model."""

    arm: str
    """The arm; without its layer where every model has one layer of its own."""

    across: str
    """MODELS or TASKS."""

    where: str
    """The task, or the model, that is held fixed."""

    places: tuple[str, ...]
    """The models, or tasks, in the order of the grid."""

    n_tested: int
    """In how many of them there is a comparison; the others count as no improvement (p = 1)."""

    p_values: tuple[float, ...]
    """p_{u/N} of "improves in at least u of the N places", u = 1..N."""

    at_least: int
    """The largest u with p_{u/N} below alpha; 0 if none."""

    @property
    def sentence(self) -> str:
        """The claim in words."""
        n = len(self.places)
        p = self.p_values[max(self.at_least, 1) - 1]
        text = wording.p_value(p)
        if self.at_least == 0:
            return f"no improvement shown in any of {n} {self.across} (p {text})"
        return f"improves in at least {self.at_least} of {n} {self.across} (p {text})"


def replications(rows: Sequence[Row], alpha: float) -> list[Replication]:
    """Across models (for each arm and target task) and across target tasks (arm and model)."""
    confirmatory = [row for row in rows if row.is_confirmatory]
    names = _names(confirmatory)
    claims = []
    for name, task in dict.fromkeys((names[_key(row)], row.task.name) for row in confirmatory):
        group = [r for r in confirmatory if (names[_key(r)], r.task.name) == (name, task)]
        claims += _of(name, MODELS, task, [(row.model, row) for row in group], alpha)
    for name, model in dict.fromkeys((row.name, row.model) for row in confirmatory):
        group = [r for r in confirmatory if (r.name, r.model) == (name, model)]
        claims += _of(name, TASKS, model, [(row.task.name, row) for row in group], alpha)
    return claims


def _key(row: Row) -> tuple[str, str]:
    return row.model, row.name


def _names(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """{(model, arm): name across models}: the method alone if no model has two rows of it."""
    arms = {(row.model, row.arm.method, row.name) for row in rows}
    counts: dict[str, int] = {}
    for model, method, _ in arms:
        arms_of_method = sum(1 for other in arms if other[:2] == (model, method))
        counts[method] = max(counts.get(method, 0), arms_of_method)
    return {(model, name): method if counts[method] == 1 else name for model, method, name in arms}


def _of(
    arm: str, across: str, where: str, group: Iterable[tuple[str, Row]], alpha: float
) -> list[Replication]:
    places = dict(group)
    if len(places) < 2:
        return []
    p_values = _claims(np.array([_p_improves(row) for row in places.values()]), across)
    better = sum(
        row.verdict is not None and row.verdict.word in IMPROVEMENTS for row in places.values()
    )
    return [
        Replication(
            arm=arm,
            across=across,
            where=where,
            places=tuple(places),
            n_tested=sum(row.comparison is not None for row in places.values()),
            p_values=tuple(float(p) for p in p_values),
            at_least=min(int((p_values < alpha).sum()), better),
        )
    ]


def _claims(adjusted: Floats, across: str) -> Floats:
    """p_{u/N}, u = 1..N, from adjusted p-values [N] of the single places.

    Tasks of a model are one family, whose adjustment already allows for their number: the u-th
    smallest p-value carries the claim. Models are families of their own, so the partial conjunction
    (Benjamini and Heller 2008) allows for theirs.
    """
    if across == TASKS:
        return np.sort(adjusted)
    p_values: Floats = partial_conjunction(adjusted)
    return p_values


def _p_improves(row: Row) -> float:
    """The adjusted p-value of a difference towards improvement; 1 of any other."""
    if row.comparison is None or row.p_adjusted is None:
        return 1.0
    return row.p_adjusted if oriented(row.comparison.effect, row.metric).estimate > 0 else 1.0
