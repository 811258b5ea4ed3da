"""The table of every arm over all target tasks of a model."""

from __future__ import annotations

import math

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.across_tasks import Across, ArmAcross
from steereval.results.report.tables.table import Column, Entry, ReportTable


def across_tasks_table(across: Across, confidence: float) -> ReportTable:
    """Macro-mean, robust summaries and ranks, in points."""
    percent = f"{100 * confidence:g} %"
    columns = (
        Column("Method"),
        Column(
            f"Macro-mean [{percent}, unadjusted]",
            True,
            "Mean over tasks of the differences, in points",
        ),
        Column("Adjusted p", True, "Holm over the methods of the model"),
        Column("Interquartile mean", True, "Middle half of the differences of tasks × seeds"),
        Column("Improves", True, "Share of tasks × seeds above the baseline"),
        Column("Mean rank", True, "Over the tasks, with the mean ends of its rank intervals"),
        Column("Over tasks", True, "Interval for other tasks of the kind; from ten tasks on"),
    )
    rows = tuple(_row(arm) for arm in across.arms)
    return ReportTable(f"{slug(across.model)}-across", _caption(across), columns, rows)


def _caption(across: Across) -> str:
    text = f"{across.model}: over {len(across.tasks)} target tasks ({', '.join(across.tasks)})"
    if across.left_out:
        text += f"; not in all of them: {', '.join(across.left_out)}"
    friedman = across.friedman
    if friedman is not None:
        text += (
            f"; Friedman χ² {friedman.chi_square_ties:.2f}, F {friedman.f_statistic:.2f}, "
            f"p {wording.p_value(friedman.p_value)}; mean ranks differ from "
            f"{friedman.critical_difference:.2f} on (Nemenyi)"
        )
    return text


def _row(arm: ArmAcross) -> tuple[Entry, ...]:
    effect = arm.effect
    decimals = 1 if effect.se == 0 else max(1, math.ceil(-math.log10(100 * effect.se)))
    mean, low, high = (
        wording.number(100 * x, decimals, True) for x in (effect.estimate, effect.low, effect.high)
    )
    return (
        Entry(arm.name, note=effect.caution),
        Entry(f"{mean} [{low}, {high}]", effect.estimate),
        Entry(wording.p_value(arm.p_adjusted), arm.p_adjusted),
        Entry(wording.number(100 * arm.interquartile_mean, decimals, True), arm.interquartile_mean),
        Entry(f"{100 * arm.probability:.0f} %", arm.probability),
        _rank(arm),
        _over_tasks(arm, decimals),
    )


def _rank(arm: ArmAcross) -> Entry:
    if arm.mean_rank is None or arm.rank_interval is None:
        return Entry("–", math.inf)
    best, worst = arm.rank_interval
    return Entry(f"{arm.mean_rank:.1f} [{best:.1f}, {worst:.1f}]", arm.mean_rank)


def _over_tasks(arm: ArmAcross, decimals: int) -> Entry:
    if arm.over_tasks is None:
        return Entry("–", -math.inf)
    low, high = (wording.number(100 * x, decimals, True) for x in arm.over_tasks)
    return Entry(f"[{low}, {high}]", arm.over_tasks[0])
