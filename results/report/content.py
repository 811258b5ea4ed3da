"""Everything that the page and the Markdown show, put together once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from steereval.results.analysis import Analysis
from steereval.results.diagnosis import Diagnosis
from steereval.results.judges import not_measured, products_of_means
from steereval.results.leaderboard import Row
from steereval.results.profiles import Profile
from steereval.results.questions.eight import eight_answers
from steereval.results.questions.remarks import remarks
from steereval.results.report.across_grid import across_grid
from steereval.results.report.choosing_grid import choosing_grid
from steereval.results.report.collapse_grid import collapse_grid, collapse_words
from steereval.results.report.drawing import Picture, slug
from steereval.results.report.figures import (
    FigureGroup,
    Key,
    figure_groups,
    group_choosings,
    group_collapses,
)
from steereval.results.report.glossary import how_to_read
from steereval.results.report.grid import Grid
from steereval.results.report.item_chunks import ItemChunk
from steereval.results.report.leader_grids import basis_grid, result_grid
from steereval.results.report.noise_grid import noise_grid, noise_words
from steereval.results.report.opening import Block, summary, verdict_blocks
from steereval.results.report.other_grids import (
    coupling_grid,
    failure_grid,
    profile_grid,
    replication_grid,
    response_grid,
    seed_grid,
)
from steereval.results.report.published_grid import published_grids
from steereval.results.report.question_blocks import (
    NOT_DIAGNOSED,
    QuestionBlock,
    question_blocks,
)
from steereval.results.response import StrengthPoint

_Entry = TypeVar("_Entry", Row, StrengthPoint)


@dataclass(frozen=True)
class ModelBlock:
    """One model's part of the leaderboard."""

    model: str
    """The model's label."""

    results: tuple[tuple[Grid, Grid], ...]
    """For each task and metric the result and what it rests on."""

    absences: tuple[str, ...]
    """What was not measured, in sentences."""


@dataclass(frozen=True)
class Content:
    """What a report shows, in the order in which it shows it."""

    title: str
    """The run's name."""

    created: str
    """When the run was planned."""

    summary: tuple[str, ...]
    """The opening sentences."""

    blocks: tuple[Block, ...]
    """The verdicts in words."""

    notes: tuple[str, ...]
    """What was done otherwise than the grid says."""

    questions: tuple[QuestionBlock, ...]
    """The eight questions, as far as they are answered."""

    question_remarks: tuple[str, ...]
    """What was measured on, and what could not be measured."""

    question_note: str
    """What would answer the others; empty if all were asked."""

    reading: tuple[tuple[str, str], ...]
    """How to read it: terms and what they mean."""

    models: tuple[ModelBlock, ...]
    """The leaderboard."""

    figures: tuple[FigureGroup, ...]
    """Figures by kind, with what could not be drawn."""

    response_grids: tuple[Grid, ...]
    """Strength response tables."""

    collapse_words: tuple[str, ...]
    """From which strength on each method ruins what the model says."""

    collapse_grids: tuple[Grid, ...]
    """The same as tables, where a task has metrics that show it."""

    published: tuple[Grid, ...]
    """Published figures under measured ones, where the task is a benchmark that has some."""

    choosing_grids: tuple[Grid, ...]
    """The winner's curse: chosen strengths on validation and on test items."""

    across: tuple[Grid, ...]
    """Over all target tasks, a table for each model with several."""

    replication: Grid | None
    """None with one model and one target task."""

    noise_words: str
    """What cells that were computed twice show, or that there are none."""

    noise: Grid | None
    """None without a finished pair."""

    coupling: Grid | None
    """None where nothing was sampled with several seeds."""

    profile: Grid | None
    """None where no time was measured."""

    items: tuple[ItemChunk, ...]
    """What the item browser shows."""

    failures: Grid | None
    """None if nothing failed."""

    seeds: Grid
    """The seeds of the plan."""

    provenance: tuple[tuple[str, str], ...]
    """Versions, machine, counts: names and values."""

    documents: tuple[tuple[str, str], ...]
    """Longer pieces of provenance as JSON: titles and texts."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All figures."""
        groups = (group.pictures for group in self.figures)
        questions = (question.figures for question in self.questions)
        return tuple(picture for part in (*groups, *questions) for picture in part)


def content_of(
    analysis: Analysis,
    manifest: dict[str, Any],
    profiles: Sequence[Profile] = (),
    items: Sequence[ItemChunk] = (),
    diagnoses: Mapping[str, Diagnosis] = MappingProxyType({}),
) -> Content:
    """The content of the report on `analysis`, with the provenance in `manifest`."""
    plan = analysis.plan
    rows = _grouped(analysis.rows)
    points = _grouped(analysis.responses)
    fallen = group_collapses(analysis).values()
    replication = analysis.replications
    return Content(
        title=plan.name,
        created=str(manifest.get("created", "")),
        summary=tuple(summary(analysis)),
        blocks=tuple(verdict_blocks(analysis)),
        notes=analysis.notes,
        questions=question_blocks(eight_answers(analysis, manifest, diagnoses)),
        question_remarks=remarks(diagnoses),
        question_note="" if diagnoses else NOT_DIAGNOSED,
        reading=how_to_read(plan),
        models=tuple(_model_block(model, rows, analysis) for model in analysis.models),
        figures=figure_groups(analysis),
        response_grids=tuple(
            response_grid(group, slug(*key), plan.confidence) for key, group in points.items()
        ),
        collapse_words=tuple(words for each in fallen for words in collapse_words(each)),
        collapse_grids=tuple(map(collapse_grid, fallen)),
        published=tuple(published_grids(analysis.rows, products_of_means(analysis.rows))),
        choosing_grids=tuple(map(choosing_grid, group_choosings(analysis).values())),
        across=tuple(across_grid(across, plan.confidence) for across in analysis.across),
        replication=replication_grid(replication) if replication else None,
        noise_words=noise_words(analysis.noise_floors, len(plan.repeats)),
        noise=noise_grid(floors, plan.confidence) if (floors := analysis.noise_floors) else None,
        coupling=coupling_grid(analysis.couplings) if analysis.couplings else None,
        profile=profile_grid(profiles) if profiles else None,
        items=tuple(items),
        failures=failure_grid(analysis.failures) if analysis.failures else None,
        seeds=seed_grid(analysis),
        provenance=tuple(_provenance(analysis, manifest)),
        documents=tuple(_documents(manifest)),
    )


def _grouped(entries: Sequence[_Entry]) -> dict[Key, list[_Entry]]:
    groups: dict[Key, list[_Entry]] = {}
    for entry in entries:
        key = (entry.model, entry.task.name, entry.metric.name)
        groups.setdefault(key, []).append(entry)
    return groups


def _model_block(model: str, rows: dict[Key, list[Row]], analysis: Analysis) -> ModelBlock:
    mine = {key: group for key, group in rows.items() if key[0] == model}
    confidence, products = analysis.plan.confidence, products_of_means(analysis.rows)
    return ModelBlock(
        model,
        tuple(
            (result_grid(group, slug(*key), confidence, products), basis_grid(group, slug(*key)))
            for key, group in mine.items()
        ),
        tuple(not_measured(analysis.plan.tasks)),
    )


def _provenance(analysis: Analysis, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    cells = analysis.cells
    facts = [
        ("Planned", str(manifest.get("created", "not recorded"))),
        (
            "Cells",
            f"{cells.planned} planned, {cells.done} finished, {cells.failed} failed, "
            f"{cells.pending} without a record",
        ),
        ("Schema version", str(manifest.get("schema_version"))),
    ]
    for task, entry in (manifest.get("tasks") or {}).items():
        for judge, told in (entry.get("judges") or {}).items():
            who = told["model"] or told["scorer"] or "the published model"
            facts.append((f"Judge {judge} of {task}", str(who)))
    for section in ("versions", "machine"):
        known = manifest.get(section) or {}
        facts += [(f"{name}", str(value)) for name, value in known.items()]
    return facts


def _documents(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    documents = [
        (f"Contrast set {name}", card) for name, card in (manifest.get("contrasts") or {}).items()
    ]
    documents += [("Methods", manifest.get("methods")), ("Grid", manifest.get("grid"))]
    return [
        (title, json.dumps(value, indent=2, ensure_ascii=False))
        for title, value in documents
        if value
    ]
