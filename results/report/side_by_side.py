"""The comparison of a run with others, as tables and sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.run_comparison import ArmPair, TwoRuns
from steereval.results.report.summary import MARKS, TONES
from steereval.results.report.tables.leaderboard import score_words, strength_words, unit_words
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.store.diff import Difference
from steereval.results.store.manifest import RATIO

_ABSENT = Entry("–", -math.inf)


@dataclass(frozen=True)
class Section:
    """One run compared with the first."""

    title: str
    """Both names."""
    sentences: tuple[str, ...]
    """Results of the comparison, then the parts left out."""
    tables: tuple[ReportTable, ...]
    """A table for each model, task and metric, primary ones first."""
    apart: tuple[ReportTable, ...]
    """In what the runs differ: cells, grid, versions. Empty ones are left out."""


@dataclass(frozen=True)
class SideBySide:
    """The content of the page and of the Markdown."""

    title: str
    """All runs."""
    reading: str
    """How to read it."""
    sections: tuple[Section, ...]
    """One for each run but the first."""


def side_by_side(pairs: Sequence[TwoRuns]) -> SideBySide:
    """The content of a comparison; all of `found` have the same first run."""
    first = pairs[0].first
    plan = first.source.plan
    names = ", ".join(each.second.name for each in pairs)
    return SideBySide(
        title=f"{names} against {first.name}",
        reading=(
            f"Differences are the other run minus {first.name}, paired by item and fit seed, on "
            "the items that both tested and every arm of both has a score for; intervals of "
            f"{100 * plan.confidence:g} %; p-values adjusted by Holm over a model's primary "
            "metrics, by Benjamini-Hochberg over the others. “Better” means better than in "
            f"{first.name}."
        ),
        sections=tuple(_section(each) for each in pairs),
    )


def _section(two: TwoRuns) -> Section:
    groups = [
        list(group)
        for _, group in groupby(two.arms, key=lambda a: (a.model, a.task.name, a.metric.name))
    ]
    name = slug(two.second.name)
    apart = (
        _cells(two, f"{name}-cells"),
        _changes(two.grid, f"{name}-grid", "The grids", two),
        _changes(two.versions, f"{name}-versions", "Versions and machines", two),
    )
    return Section(
        title=f"{two.second.name} against {two.first.name}",
        sentences=(*_summary(two), *two.notes),
        tables=tuple(
            _table(group, two) for group in sorted(groups, key=lambda g: not g[0].is_primary)
        ),
        apart=tuple(grid for grid in apart if grid.rows),
    )


def _summary(two: TwoRuns) -> Iterator[str]:
    if not two.arms:
        yield "The runs have no arm in common on the same model, task and metric."
    else:
        primary = [arm for arm in two.arms if arm.is_primary]
        words = Counter(arm.word for arm in primary)
        counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
        yield f"{len(primary)} arms on primary metrics: {counts}."
    yield (
        f"{two.n_same} planned cells are the same in both runs; {two.n_changed} of the same name "
        f"compute something else; {len(two.only_first)} settings are only in {two.first.name}, "
        f"{len(two.only_second)} only in {two.second.name}."
    )


def _table(arms: Sequence[ArmPair], two: TwoRuns) -> ReportTable:
    first = arms[0]
    columns = (
        Column("Method"),
        Column("Strength", help=f"In {two.first.name}, and in {two.second.name} if another"),
        Column("First ± SE", True, f"Score in {two.first.name}"),
        Column("Second ± SE", True, f"Score in {two.second.name}"),
        Column("Difference", True, "Second minus first, with its interval"),
        Column("p", True, "Before adjusting"),
        Column("Adjusted p", True),
        Column("Verdict"),
        Column("Detects", True, "Least difference that this design detects (5 %, power 80 %)"),
        Column("Items", True),
        Column("Seeds", True, "Fit seeds that both runs have"),
    )
    rank = "primary metric" if first.is_primary else "secondary metric"
    better = "higher is better" if first.metric.higher_is_better else "lower is better"
    caption = (
        f"{first.model}: {first.task.name} · {first.metric.name} ({unit_words(first.metric)}, "
        f"{better}; {rank})"
    )
    name = slug(two.second.name, first.model, first.task.name, first.metric.name)
    return ReportTable(name, caption, columns, tuple(_row(arm) for arm in arms))


def _layers(arm: ArmPair) -> str:
    first, second = arm.arm.layer_words, arm.other_arm.layer_words
    return first if first == second else f"{first}, then {second}"


def _row(arm: ArmPair) -> tuple[Entry, ...]:
    scores = [
        Entry(score_words(score, arm.metric), score.mean if score else -math.inf)
        for score in arm.scores
    ]
    head = (Entry(arm.arm.method, note=_layers(arm)), _strengths(arm), *scores)
    if arm.comparison is None:
        verdict = Entry(f"{MARKS['none']} {arm.word}", tone="none", note=arm.untested)
        return (*head, *(_ABSENT,) * 3, verdict, *(_ABSENT,) * 3)
    effect = arm.comparison.effect
    tone = "even" if arm.is_identical else TONES[arm.word]
    return (
        *head,
        Entry(wording.difference(effect, arm.metric).replace(" points", ""), effect.estimate),
        _p(effect.p_value),
        _p(arm.p_adjusted),
        Entry(
            f"{MARKS[tone]} {arm.word}", tone=tone, note=effect.caution if _is_seeded(arm) else ""
        ),
        _detects(arm),
        Entry(str(effect.n_items), effect.n_items),
        Entry(str(effect.n_seeds) if _is_seeded(arm) else "unseeded", effect.n_seeds),
    )


def _strengths(arm: ArmPair) -> Entry:
    if not arm.arm.layer:
        return Entry("–")
    first, second = (strength_words(each.items()) for each in arm.strengths)
    return Entry(first if first == second else f"{first} | {second}")


def _is_seeded(arm: ArmPair) -> bool:
    return any(set(strengths) != {None} for strengths in arm.strengths)


def _p(value: float | None) -> Entry:
    return _ABSENT if value is None else Entry(wording.p_value(value), value)


def _detects(arm: ArmPair) -> Entry:
    if arm.mde is None or arm.comparison is None or arm.is_identical:
        return _ABSENT
    if arm.metric.kind == RATIO:
        return Entry(f"× {wording.factor(arm.mde)}", arm.mde)
    scale = wording.scale_of(arm.metric)
    decimals = wording.decimals_for(scale * arm.comparison.effect.se, arm.metric)
    return Entry(wording.number(scale * arm.mde, decimals), arm.mde)


def _cells(two: TwoRuns, name: str) -> ReportTable:
    rows = [(two.first.name, line) for line in two.only_first]
    rows += [(two.second.name, line) for line in two.only_second]
    columns = (Column("Only in"), Column("Setting"))
    entries = tuple((Entry(run), Entry(line)) for run, line in rows)
    return ReportTable(name, "Cells that only one run planned", columns, entries)


def _changes(differences: Sequence[Difference], name: str, what: str, two: TwoRuns) -> ReportTable:
    columns = (Column("Where"), Column(two.first.name), Column(two.second.name))
    rows = tuple((Entry(each.path), Entry(each.first), Entry(each.second)) for each in differences)
    return ReportTable(name, f"{what} differ", columns, rows)
