"""From single tests to claims: families, adjusted p-values, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steereval.results.analysis.comparison import seed_of
from steereval.results.analysis.headline import headline
from steereval.results.analysis.joint_p_values import joint_p_values
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.verdicts import judge
from steereval.results.stats import adjust
from steereval.results.store.manifest import Plan

CONFIRMATORY = "confirmatory"
EXPLORATORY = "exploratory"

MAX_T = "max-t"
"""The correction that looks at all tests together; the others are methods of `stats.adjust`."""


def judged(rows: Sequence[Row], plan: Plan) -> list[Row]:
    """`rows` with adjusted p-values within each model's two families, and with verdicts.

    All by the seed-robust test of `headline`, as for their intervals.
    """
    judged_rows = [_with_headline(row) for row in rows]
    families: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(judged_rows):
        if not row.is_baseline:
            family = CONFIRMATORY if row.is_confirmatory else EXPLORATORY
            families.setdefault((row.model, family), []).append(i)
    for (model, family), places in families.items():
        method = plan.correction if family == CONFIRMATORY else "bh"
        members = [judged_rows[i] for i in places]
        for i, p in zip(places, _adjusted(members, method, model), strict=True):
            judged_rows[i] = _with_verdict(judged_rows[i], family, p, plan)
    return judged_rows


def _with_headline(row: Row) -> Row:
    if row.comparison is None:
        return row
    return replace(row, comparison=headline(row.comparison, row.metric))


def _p(row: Row) -> float:
    """A planned row without a comparison stays in its family, with p = 1."""
    return 1.0 if row.comparison is None else row.comparison.effect.p_value


def _adjusted(members: Sequence[Row], method: str, model: str) -> list[float]:
    if method != MAX_T:
        return [float(p) for p in adjust([_p(row) for row in members], method)]
    tested = [row for row in members if row.comparison is not None]
    adjusted = iter(joint_p_values(tested, seed_of(f"max-t|{model}")))
    return [1.0 if row.comparison is None else next(adjusted) for row in members]


def _with_verdict(row: Row, family: str, p_adjusted: float, plan: Plan) -> Row:
    if row.comparison is None:
        return replace(row, family=family)
    # Tests that are adjusted together by shared resamples can come out below their own p-value.
    p_adjusted = max(p_adjusted, row.comparison.effect.p_value)
    verdict = judge(row.comparison.effect, p_adjusted, row.metric, row.task, plan.alpha)
    return replace(row, family=family, p_adjusted=p_adjusted, verdict=verdict)
