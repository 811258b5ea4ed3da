"""Where steering breaks the model: the strength from which on a companion of the target collapses.

A large strength can raise the target and ruin the text: all answers true and none informative.
Metrics that show it in addition to the target metric: informativeness, perplexity, distinct-n.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steereval.results.analysis.comparison import compare, untestable
from steereval.results.analysis.headline import headline
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.pairing import Setting, pair
from steereval.results.analysis.scores import Arm
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.analysis.verdicts import oriented
from steereval.results.stats import Effect
from steereval.results.store.manifest import RATIO, Metric, Task

JUDGED = ("true", "informative", "true_informative")
"""Metrics of judged answers, which are looked at together."""

INFORMATIVE = "informative"
DISTINCT = "distinct_"
SHOWN_DISTINCT = "distinct_2"

LEFT = 0.5
"""Less than so much of the unsteered score is a collapse; a ratio collapses at its inverse."""

MOST_SHOWN = 4
"""Metrics side by side."""


@dataclass(frozen=True)
class Collapse:
    """One companion metric of one arm over its strengths."""

    model: str
    """The model's label."""

    task: Task
    """The task."""

    metric: Metric
    """The companion."""

    arm: Arm
    """Method and layers."""

    strengths: tuple[float, ...]
    """The positive strengths that were measured."""

    unsteered: StrengthPoint
    """The companion of the unsteered model."""

    begins: StrengthPoint | None
    """The companion at the smallest strength from which on it has collapsed; None if it has not."""

    effect: Effect | None
    """Its difference to the unsteered model there; None where a perplexity is infinite."""

    target: StrengthPoint | None
    """The target metric there."""


def companions(task: Task, metrics: Sequence[Metric]) -> list[Metric]:
    """Those of a task's metrics that show collapse, without the target metric."""
    return [
        metric
        for metric in metrics
        if metric.name != target_metric(task, metrics)
        and (
            metric.name == INFORMATIVE
            or (metric.kind == RATIO and not metric.higher_is_better)
            or (metric.name.startswith(DISTINCT) and metric.higher_is_better)
        )
    ]


def target_metric(task: Task, metrics: Sequence[Metric]) -> str:
    """The metric to compare companions with: truthfulness where it was judged, else the primary."""
    return JUDGED[0] if any(metric.name == JUDGED[0] for metric in metrics) else task.primary


def side_by_side(task: Task, metrics: Sequence[Metric]) -> list[str]:
    """The metrics of a figure, the target first; only the target if nothing shows collapse."""
    names = [metric.name for metric in metrics]
    ordered = sorted(companions(task, metrics), key=lambda metric: metric.kind != RATIO)
    shown_names = [metric.name for metric in ordered]
    others = [
        name for name in shown_names if name == SHOWN_DISTINCT or not name.startswith(DISTINCT)
    ]
    judged = [name for name in JUDGED if name in names] if JUDGED[0] in names else []
    return list(dict.fromkeys([target_metric(task, metrics), *judged, *others]))[:MOST_SHOWN]


def collapses(source: Source, points: Sequence[StrengthPoint]) -> Iterator[Collapse]:
    """Every companion of every arm, from the scores at all strengths."""
    tables: dict[tuple[str, str], list[StrengthPoint]] = {}
    for point in points:
        tables.setdefault((point.model, point.task.name), []).append(point)
    for task_points in tables.values():
        metrics = list({point.metric.name: point.metric for point in task_points}.values())
        for metric in companions(task_points[0].task, metrics):
            yield from _of_metric(
                source, task_points, metric, target_metric(task_points[0].task, metrics)
            )


def _of_metric(
    source: Source, points: Sequence[StrengthPoint], metric: Metric, target: str
) -> Iterator[Collapse]:
    scored = [p for p in points if p.metric == metric and p.score is not None]
    plain = next((p for p in scored if p.arm.method == source.plan.baseline), None)
    if plain is None:
        return
    for arm in dict.fromkeys(p.arm for p in scored if p.arm != plain.arm):
        curve = sorted((p for p in scored if p.arm == arm and p.strength > 0), key=_strength)
        begins, effect = _begin(source, curve, plain)
        at_collapse = None if begins is None else _at(points, target, begins)
        if curve:
            strengths = tuple(point.strength for point in curve)
            yield Collapse(
                *(plain.model, plain.task, metric, arm, strengths),
                *(plain, begins, effect, at_collapse),
            )


def _strength(point: StrengthPoint) -> float:
    return point.strength


def _begin(
    source: Source, curve: Sequence[StrengthPoint], plain: StrengthPoint
) -> tuple[StrengthPoint | None, Effect | None]:
    """The first point of the curve's collapsed end, and the difference there.

    An infinite perplexity has collapsed too, though no difference can be estimated.
    """
    begins: tuple[StrengthPoint | None, Effect | None] = (None, None)
    for point in reversed(curve):
        effect = _loss(source, point) if _is_halved(point, plain) else None
        if effect is None and not _is_infinite(point):
            break
        begins = point, effect
    return begins


def _is_infinite(point: StrengthPoint) -> bool:
    return point.score is not None and math.isinf(point.score.mean)


def _is_halved(point: StrengthPoint, plain: StrengthPoint) -> bool:
    assert point.score is not None
    assert plain.score is not None
    if point.metric.kind == RATIO:
        return point.score.mean * LEFT > plain.score.mean
    return point.score.mean < LEFT * plain.score.mean


def _loss(source: Source, point: StrengthPoint) -> Effect | None:
    """The difference to the unsteered model; None where its interval does not exclude no loss."""
    scores, metric = source.scores[point.model, point.task.name], point.metric
    seeds = {c.fit_seed: c.strength for c in scores.cells if (c.arm, c.strength) == _key(point)}
    baseline = source.baseline(point.model, point.task.name)
    items = scores.tested(metric.name)
    ratio = metric.kind == RATIO
    paired = pair(scores, Setting(point.arm, seeds), baseline, metric.name, ratio, items)
    if paired is None or untestable(paired, metric) is not None:
        return None
    effect = headline(compare(paired, metric, scores, source.plan.confidence), metric).effect
    return effect if oriented(effect, metric).high < 0.0 else None


def _key(point: StrengthPoint) -> tuple[Arm, float]:
    return point.arm, point.strength


def _at(points: Sequence[StrengthPoint], metric: str, place: StrengthPoint) -> StrengthPoint | None:
    """The score of another metric at the arm and strength of `place`."""
    for point in points:
        if _key(point) == _key(place) and point.metric.name == metric and point.score is not None:
            return point if math.isfinite(point.score.mean) else None
    return None
