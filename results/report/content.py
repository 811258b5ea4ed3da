"""Everything that the page and the Markdown show, put together once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from steereval.results.analysis.conclusion import short_verdict
from steereval.results.analysis.departures import departures
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.questions.cost import speed_changes
from steereval.results.questions.evidence import Evidence
from steereval.results.report.blocks import Block, Legend, Section, Text, figures, pictures_of
from steereval.results.report.item_chunks import ItemChunk
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.plots.figures import FigureGroup, figure_groups
from steereval.results.report.question_blocks import questions_section
from steereval.results.report.sections.certainty import certainty_section
from steereval.results.report.sections.metrics import metrics_section, published_section
from steereval.results.report.sections.provenance import (
    failures_section,
    items_section,
    provenance_section,
    reading_section,
)
from steereval.results.report.sections.strengths import strengths_section
from steereval.results.report.sections.tasks import tasks_section
from steereval.results.report.summary import legend, summary
from steereval.results.report.tables.verdict_matrix import Costs, matrix_grid, matrix_words
from steereval.results.store.diagnosis import Diagnosis
from steereval.results.store.manifest import Manifest
from steereval.results.store.profiles import Profile


@dataclass(frozen=True)
class Content:
    """The content of a report, in the order of the page."""

    title: str
    """The run's name."""

    headline: tuple[str, ...]
    """The verdict in short sentences."""

    summary: tuple[str, ...]
    """Counts of comparisons, cells and cautions."""

    departures: tuple[str, ...]
    """Departures of the run from the definitions of tasks, methods or the grid."""

    sections: tuple[Section, ...]
    """In order of worth."""

    items: tuple[ItemChunk, ...]
    """Data of the item browser."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All figures."""
        return tuple(p for section in self.sections for p in pictures_of(section.blocks))


def content_of(
    analysis: Analysis,
    manifest: Manifest,
    profiles: Sequence[Profile] = (),
    items: Sequence[ItemChunk] = (),
    diagnoses: Mapping[str, Diagnosis] = MappingProxyType({}),
) -> Content:
    """The content of the report on `analysis`, with the provenance in `manifest`."""
    evidence = Evidence(analysis, manifest, diagnoses)
    groups = {group.name: group for group in figure_groups(analysis)}
    sections = (
        _results(analysis, speed_changes(evidence), groups["differences"], groups["capability"]),
        questions_section(evidence),
        items_section(items),
        strengths_section(analysis, groups),
        certainty_section(analysis, groups),
        tasks_section(analysis, groups),
        metrics_section(analysis),
        published_section(analysis),
        reading_section(analysis.plan),
        failures_section(analysis),
        provenance_section(analysis, manifest, profiles),
    )
    return Content(
        title=analysis.plan.name,
        headline=short_verdict(analysis.rows, analysis.plan.baseline),
        summary=tuple(summary(analysis)),
        departures=(*departures(manifest), *analysis.notes),
        sections=tuple(section for section in sections if section is not None),
        items=tuple(items),
    )


def _results(
    analysis: Analysis, costs: Costs, forest: FigureGroup, capability: FigureGroup
) -> Section:
    """The matrix of verdicts, with a forest plot of each task below it."""
    grid = matrix_grid(analysis, costs)
    if not grid.rows:
        nothing = (Text("Nothing is compared yet.", "absent"),)
        return Section("results", "Verdicts", (*nothing, *_drawn(forest)), is_open=True)
    words = Text(matrix_words(analysis, costs), "explain")
    blocks: tuple[Block, ...] = (grid, Legend(legend()), words)
    plots = (*_drawn(forest), *_drawn(capability, with_absences=False))
    return Section("results", "Verdicts", (*blocks, *plots), is_open=True)


def _drawn(group: FigureGroup, with_absences: bool = True) -> tuple[Block, ...]:
    caption = (Text(group.caption, "explain"),) if group.pictures else ()
    absences = group.absences if with_absences else ()
    return (*figures(group.pictures, absences), *caption)
