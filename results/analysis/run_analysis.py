"""From a run folder to everything that a report says: one pure function of the stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steereval.common.activity import doing
from steereval.results.analysis.across_tasks import Across, across_tasks
from steereval.results.analysis.by_subtask import SubtaskScores, by_subtask
from steereval.results.analysis.collapse import Collapse, collapses
from steereval.results.analysis.common_random_numbers import Coupling, couplings
from steereval.results.analysis.inputs import Source
from steereval.results.analysis.item_sheets import ItemSheet, item_sheets
from steereval.results.analysis.judge_coverage import not_judged, not_measured
from steereval.results.analysis.leaderboard import Row, rows_of_table
from steereval.results.analysis.lost_items import lost_items
from steereval.results.analysis.multiplicity import judged as judge_rows
from steereval.results.analysis.noise_floor import NoiseFloor, noise_floors
from steereval.results.analysis.ranking import ranks_of
from steereval.results.analysis.replication import Replication, replications
from steereval.results.analysis.scores import Arm, TaskScores, load_scores
from steereval.results.analysis.selection import selection_rule
from steereval.results.analysis.strength_response import StrengthPoint, points_of_table
from steereval.results.analysis.winners_curse import Choosing, choosings
from steereval.results.store.cell_record import CellFailure, CellRecord
from steereval.results.store.content import check_content
from steereval.results.store.manifest import Plan, Task, parse_plan
from steereval.results.store.run_folder import RunFolder


@dataclass(frozen=True)
class CellCounts:
    """Outcomes of the planned cells."""

    planned: int
    """In the manifest."""

    done: int
    """Finished and counted here."""

    failed: int
    """Recorded as failed."""

    pending: int
    """Planned, without a record."""


@dataclass(frozen=True)
class Failure:
    """A failed cell, with what it would have been."""

    cell_id: str
    """Its id."""

    setting: str
    """Method, strength, layers, seed, task and model, as its record names them."""

    error: str
    """Its error, in the words of the record."""


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says, apart from provenance."""

    plan: Plan
    """The plan."""

    models: tuple[str, ...]
    """In the order of the grid."""

    rows: tuple[Row, ...]
    """The leaderboard, by model, task and metric in the order of the grid, primary first."""

    responses: tuple[StrengthPoint, ...]
    """Scores at every strength, of the same tables; exploratory."""

    collapses: tuple[Collapse, ...]
    """From which strength on steering ruins what the model says, metric by metric."""

    replications: tuple[Replication, ...]
    """Across models and across target tasks."""

    couplings: tuple[Coupling, ...]
    """Savings by common random numbers, where texts were sampled with several seeds."""

    across: tuple[Across, ...]
    """Every arm over all target tasks, for models with several."""

    subtasks: tuple[SubtaskScores, ...]
    """Scores of the subtasks of groups; exploratory."""

    sheets: tuple[ItemSheet, ...]
    """The test items of every model and task under all arms."""

    choosings: tuple[Choosing, ...]
    """Gains on test items of the settings that were chosen on validation items."""

    noise_floors: tuple[NoiseFloor, ...]
    """Differences where a cell was computed twice."""

    cells: CellCounts
    """Outcomes of the planned cells."""

    failures: tuple[Failure, ...]
    """The failed cells."""

    notes: tuple[str, ...]
    """Notes where the analysis departs from the grid."""


@doing("analysing rows")
def analyse(run: RunFolder) -> Analysis:
    """Analyse what `run` holds so far; StoreError if a file of it cannot be used.

    Failed and missing cells leave gaps that the rows count; they never stop the analysis. The same
    rows give the same analysis, resampling included.
    """
    manifest, records = run.read_manifest(), run.records()
    plan = parse_plan(manifest)
    check_content(run, manifest, records)
    measured = {cell_id: _measured(record) for cell_id, record in records.items()}
    source = Source(plan, load_scores(run, plan.repeats), measured)
    tables = list(source.tables())
    rows = [row for table in tables for row in _ranked(source, rows_of_table(source, *table))]
    points = [point for table in tables for point in points_of_table(source, *table)]
    fallen = tuple(collapses(source, points))
    judged = _with_collapses(judge_rows(rows, plan), fallen)
    return Analysis(
        plan=plan,
        models=tuple(source.models),
        rows=tuple(judged),
        responses=tuple(points),
        collapses=fallen,
        replications=tuple(replications(judged, plan.alpha)),
        couplings=tuple(couplings(judged, source)),
        across=tuple(across_tasks(judged, source)),
        subtasks=tuple(by_subtask(judged, source)),
        sheets=tuple(item_sheets(judged, source, records)),
        choosings=tuple(choosings(judged, source)),
        noise_floors=tuple(noise_floors(run, source, records)),
        cells=_counts(plan, records),
        failures=tuple(_failures(records)),
        notes=(
            *not_measured(plan.tasks),
            *not_judged(records),
            *_notes(source),
            *_imports(records),
            *lost_items(plan.cells, records),
        ),
    )


def _with_collapses(rows: Sequence[Row], fallen: Sequence[Collapse]) -> list[Row]:
    """`rows`, each with the collapse of its arm on its task that begins first."""
    first: dict[tuple[str, str, Arm], Collapse] = {}
    for each in sorted((c for c in fallen if c.begins is not None), key=_begin):
        first.setdefault((each.model, each.task.name, each.arm), each)
    return [replace(row, collapse=first.get((row.model, row.task.name, row.arm))) for row in rows]


def _begin(collapse: Collapse) -> float:
    assert collapse.begins is not None
    return collapse.begins.strength


def _measured(record: CellRecord) -> dict[str, Any]:
    """The numbers of a cell's record that rows show a mean of."""
    moved = list(record.displacement.values())
    displacement = {"displacement": float(np.mean(moved))} if moved else {}
    return record.timings.plain() | displacement


def _ranked(source: Source, rows: list[Row]) -> list[Row]:
    scores = source.scores.get((rows[0].model, rows[0].task.name)) if rows else None
    if scores is None or not rows[0].is_primary:
        return rows
    ranks = ranks_of(rows, scores, source.plan.alpha)
    return [replace(row, rank=ranks.get(i)) for i, row in enumerate(rows)]


def _counts(plan: Plan, records: Mapping[str, CellRecord]) -> CellCounts:
    planned = {cell.cell_id for cell in plan.cells} | set(plan.repeats)
    failed = sum(not record.is_done for record in records.values())
    return CellCounts(
        planned=len(planned),
        done=len(records) - failed,
        failed=failed,
        pending=len(planned - set(records)),
    )


def _failures(records: Mapping[str, CellRecord]) -> Iterator[Failure]:
    for cell_id, record in records.items():
        if not record.is_done:
            yield Failure(cell_id, record.name or "not recorded", _error_in_words(record.error))


def _error_in_words(error: CellFailure | None) -> str:
    parts = [error.type, error.message] if error is not None else []
    return ": ".join(filter(None, parts)) or "no message was recorded"


def _notes(source: Source) -> Iterator[str]:
    select = source.plan.select
    for label, short in source.plan.reduced.items():
        yield (
            f"{label} was trained on a reduced budget ({short}): its results say nothing about the "
            "method as published."
        )
    for task in source.plan.tasks.values():
        rule = selection_rule(source.plan, task)
        if select is not None and rule is not None and rule.substituted:
            yield (
                f"Strengths for {task.name} are chosen by {rule.task}'s primary metric "
                f"{rule.metric.name}, since {rule.task} has no metric {select.metric}."
            )
    for (model, name), scores in source.scores.items():
        if not bool(np.any(scores.is_test)):
            yield f"{model} has no test items on {name}, so nothing is reported there."
        yield from _repeated(model, scores)
        yield from _missing(model, source.plan.tasks.get(name), scores)


def _repeated(model: str, scores: TaskScores) -> Iterator[str]:
    """Notes on items of the same content, which count as one."""
    if scores.n_repeated:
        yield (
            f"{scores.n_repeated} of {len(scores.item_ids)} items of {scores.task} ({model}) "
            "repeat the content of another item; items of the same content are one cluster."
        )
    if scores.n_leaked:
        yield (
            f"{scores.n_leaked} test items of {scores.task} ({model}) repeat the content of a "
            "validation item, so the strength was chosen on what they ask. Start the run again in "
            "a new folder, which keeps items of the same content together."
        )


def _imports(records: Mapping[str, CellRecord]) -> Iterator[str]:
    """Notes on arms that another program measured."""
    for record in records.values():
        if (source := record.imported) is None:
            continue
        text = (
            f"{record.name}: lm-eval {source.lm_eval or 'of unknown version'}, "
            f"{source.file}, SHA-256 {source.sha256[:16]}…"
        )
        if other := source.documents_with_other_prompts:
            text += f"; {other} of its items have other prompts than in this run"
        yield text + "."


def _missing(model: str, task: Task | None, scores: TaskScores) -> Iterator[str]:
    """Notes on items that are left out of every row, since some arm lacks them."""
    metric = "" if task is None else task.primary
    lacking = scores.lacking(metric)
    if lacking:
        n_test = int(np.count_nonzero(scores.is_test & scores.concerned(metric)))
        left = n_test - int(np.count_nonzero(scores.tested(metric)))
        arms = ", ".join(f"{arm} lacks {count}" for arm, count in lacking.items())
        yield (
            f"{left} of {n_test} test items of {scores.task} are left out of every row of {model}, "
            f"since some arm has no score for them: {arms}."
        )
