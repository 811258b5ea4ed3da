"""All figures of a report, in groups of a kind; a reason in place of a missing figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from steereval.results.analysis.collapse import Collapse
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.analysis.winners_curse import Choosing
from steereval.results.report.plots import (
    capability_plot,
    collapse_plot,
    forest,
    power_plot,
    profile_plot,
    rank_plot,
    seed_plot,
    strength_response_plot,
    winners_curse_plot,
)
from steereval.results.report.plots.drawing import Absence, Picture
from steereval.results.report.tables.winners_curse import NOTHING_CHOSEN

Key = tuple[str, str, str]
"""(model, task, metric)."""


@dataclass(frozen=True)
class FigureGroup:
    """Figures of one kind."""

    name: str
    """Fit for an anchor."""

    title: str
    """Title of the group."""

    caption: str
    """How they are read."""

    pictures: tuple[Picture, ...]
    """Those that could be drawn."""

    absences: tuple[str, ...]
    """A sentence for all that could not be drawn for the same reason."""


def figure_groups(analysis: Analysis) -> tuple[FigureGroup, ...]:
    """Every kind of figure, also those of which none can be drawn."""
    primary = _primary(analysis)
    by_model = _by_model(analysis)
    choosings = group_choosings(analysis).values()
    return (
        _group("differences", "Differences", forest.CAPTION, map(forest.forest, primary)),
        _group("seeds-figures", "Fit seeds", seed_plot.CAPTION, map(seed_plot.seed_plot, primary)),
        _group(
            *("responses", "Strength response", strength_response_plot.CAPTION),
            (strength_response_plot.response(g, analysis.plan.baseline) for g in _curves(analysis)),
        ),
        _group(
            *("collapse", "Strength and collapse", collapse_plot.CAPTION),
            (
                collapse_plot.collapse_plot(
                    points, group_collapses(analysis).get(key, []), analysis.plan.baseline
                )
                for key, points in _by_task(analysis).items()
            ),
        ),
        _group(
            *("choosing-figures", "Winner's curse", winners_curse_plot.CAPTION),
            map(winners_curse_plot.choosing_plot, choosings),
            NOTHING_CHOSEN,
        ),
        _group(
            *("capability", "Effect against capability", capability_plot.CAPTION),
            (each for rows in by_model for each in capability_plot.capability_plots(rows)),
        ),
        _group(
            *("profiles", "Performance profile", profile_plot.CAPTION),
            map(profile_plot.profile_plot, by_model),
        ),
        _group(
            *("power", "What larger designs would detect", power_plot.CAPTION),
            map(power_plot.power_plot, primary),
        ),
        _group("ranks", "Ranks over tasks", rank_plot.CAPTION, _ranks(analysis)),
    )


def group_choosings(analysis: Analysis) -> dict[Key, list[Choosing]]:
    """The choices of strengths, by model, task and metric."""
    groups: dict[Key, list[Choosing]] = {}
    for each in analysis.choosings:
        key = (each.row.model, each.row.task.name, each.row.metric.name)
        groups.setdefault(key, []).append(each)
    return groups


def group_collapses(analysis: Analysis) -> dict[tuple[str, str], list[Collapse]]:
    """The results on collapse, by model and task."""
    groups: dict[tuple[str, str], list[Collapse]] = {}
    for each in analysis.collapses:
        groups.setdefault((each.model, each.task.name), []).append(each)
    return groups


def _group(
    name: str, title: str, caption: str, parts: Iterable[Picture | Absence], otherwise: str = ""
) -> FigureGroup:
    """`otherwise` is said where there is nothing that could have been drawn."""
    pictures, reasons = [], dict[str, list[str]]()
    for each in parts:
        if isinstance(each, Picture):
            pictures.append(each)
        else:
            reasons.setdefault(each.reason, []).append(each.title)
    absences = [f"{', '.join(titles)}: {reason}." for reason, titles in reasons.items()]
    if not pictures and not absences:
        absences = [otherwise or "There is nothing to draw yet."]
    return FigureGroup(name, title, caption, tuple(pictures), tuple(absences))


def _primary(analysis: Analysis) -> list[list[Row]]:
    groups: dict[Key, list[Row]] = {}
    for row in analysis.rows:
        if row.is_primary:
            groups.setdefault((row.model, row.task.name, row.metric.name), []).append(row)
    return list(groups.values())


def _by_model(analysis: Analysis) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in analysis.rows:
        groups.setdefault(row.model, []).append(row)
    return list(groups.values())


def _curves(analysis: Analysis) -> list[list[StrengthPoint]]:
    groups: dict[Key, list[StrengthPoint]] = {}
    for point in analysis.responses:
        if point.metric.name == point.task.primary:
            groups.setdefault((point.model, point.task.name, point.metric.name), []).append(point)
    return list(groups.values())


def _by_task(analysis: Analysis) -> dict[tuple[str, str], list[StrengthPoint]]:
    groups: dict[tuple[str, str], list[StrengthPoint]] = {}
    for point in analysis.responses:
        groups.setdefault((point.model, point.task.name), []).append(point)
    return groups


def _ranks(analysis: Analysis) -> Iterable[Picture | Absence]:
    across = {each.model: each for each in analysis.across}
    for rows in _by_model(analysis):
        targets = {row.task.name for row in rows if row.task.is_target}
        yield rank_plot.rank_plot(rows[0].model, across.get(rows[0].model), len(targets))
