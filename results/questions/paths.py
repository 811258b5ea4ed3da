"""Quantities along the paths of methods: their starts, their ends, and all that is between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steereval.results.questions.blocks import Line
from steereval.results.questions.estimate import Estimate, mean_of
from steereval.results.questions.evidence import Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix
from steereval.results.stats.effect import Floats
from steereval.results.store.diagnosis import DATA


@dataclass(frozen=True)
class Ends:
    """A quantity at both ends of the paths of one setting."""

    start: Matrix
    """[items, seeds], before steering."""

    end: Matrix
    """[items, seeds], fully steered."""

    def change(self, confidence: float) -> Estimate | None:
        """The mean of end - start."""
        paired = self.end.minus(self.start)
        return None if paired is None else mean_of(paired, confidence)


def ends_of(
    evidence: Evidence, where: Where, quantity: str, judge: str | None = None
) -> dict[Setting, Ends]:
    """{setting: both ends} of a quantity; a path of one point has no ends."""
    rows = evidence.rows(where, quantity, judge=judge)
    rows = rows[rows["step"].notna() & (rows["method"] != DATA)]
    if rows.empty:
        return {}
    last = rows.groupby(["method", "strength"], observed=True)["step"].transform("max")
    starts, ends = (
        {Setting(str(m), float(s)): matrix for (m, s), matrix in evidence.split(part, *_BY)}
        for part in (rows[rows["step"] == 0], rows[(rows["step"] == last) & (last > 0)])
    )
    return {
        setting: Ends(starts[setting], end) for setting, end in ends.items() if setting in starts
    }


def path_of(
    evidence: Evidence, where: Where, quantity: str, setting: Setting, judge: str | None = None
) -> Iterator[Line]:
    """The mean of a quantity along the paths of `setting`, over the share of the way gone."""
    rows = evidence.rows(
        where, quantity, judge=judge, method=setting.method, strength=setting.strength
    )
    points = [(float(step), matrix) for (step,), matrix in evidence.split(rows, "step")]
    if len(points) < 2:
        return
    most = max(step for step, _ in points)
    yield Line(
        setting.brief,
        tuple(step / most for step, _ in points),
        tuple(mean_of(matrix, evidence.confidence) for _, matrix in points),
    )


def natural(evidence: Evidence, where: Where, quantity: str) -> Floats:
    """A quantity of held-out positives that nothing steered; empty if it was not measured."""
    values = evidence.rows(where, quantity, method=DATA)["value"].to_numpy()
    return np.asarray(values, dtype=np.float64)


_BY = ("method", "strength")
