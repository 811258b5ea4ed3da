"""Scoring a run again from its stored answers: with another metric or filter, no model.

Answers are matched by document and by number of the request within it, so that a task may filter
and score them in any new way, as long as it asks as much about the same documents. Cells that were
answered and could not be scored are scored like the others.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from lm_eval.api.instance import Instance

from steereval.common.errors import CellError, InputError, StoreError, nearest_remedy
from steereval.harness.config.grid import Grid, TaskSpec, parse_grid
from steereval.harness.engine.replay import Replay, evaluated
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import content_of_task, refuse_other_version
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import described
from steereval.harness.planning.task_cards import card_of, claimed, known_card
from steereval.harness.planning.task_resources import configured
from steereval.harness.run.answered import Answered, begun
from steereval.harness.run.attempt import Attempt
from steereval.harness.run.item_rows import (
    PERPLEXITY,
    assign_splits,
    contents,
    directions,
    item_rows,
    named,
    perplexity_rows,
    wants_perplexity,
)
from steereval.harness.run.lost_items import PLACEHOLDERS, without_lost
from steereval.harness.run.manifest import manifest
from steereval.harness.run.references import keep_references
from steereval.harness.run.scoring import scoring_error
from steereval.results.lm_eval.samples import without_direction, without_numbers
from steereval.results.store.answers import AnswerStore
from steereval.results.store.cell_record import CellFacts
from steereval.results.store.content import digest_of, task_subject
from steereval.results.store.manifest import Manifest, parse_plan
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA, RESPONSE_SCHEMA
from steereval.tasks.catalogue.index import names_in


def rescore(
    source: RunFolder,
    target: RunFolder,
    renamed: Mapping[str, str],
    data_dir: Path | None,
    say: Callable[[str], None],
    include_hash: str = "",
) -> int:
    """Score every answered cell of `source` again, into the new folder `target`.

    Args:
        source: The run.
        target: A folder that does not exist.
        renamed: {task of the run: task to score with}.
        data_dir: Folder with benchmark data.
        say: Receives lines of progress.
        include_hash: Hash of the user's own tasks to score with, which replace those of the run.

    Returns:
        How many cells are scored. A cell whose scoring fails is recorded as failed.

    Raises:
        InputError: The folder exists, or a task is unknown or unavailable.
        CellError: A task asks for what the run does not hold.
    """
    if target.path.exists():
        raise InputError(f"{target.path} exists already", "Choose a folder that does not.")
    before = source.read_manifest()
    refuse_other_version(source.place, source.records())
    for name in renamed:
        if name not in before.tasks:
            raise InputError(f"the run has no task {name!r}", nearest_remedy(name, before.tasks))
    for label in sorted(parse_plan(before).imported):
        say(f"{label} was imported and is left out: import it into the new folder as well")
    old = parse_grid(before.grid)
    new = _with_tasks(old, renamed, include_hash)
    tasks = {task.name: configured(task, data_dir) for task in new.tasks}
    plan = list(zip(make_plan(old), make_plan(new), strict=True))
    target.create()
    target.write_manifest(_manifest(before, new, [scored for _, scored in plan], tasks, data_dir))
    keep_references(target.place, new.tasks, tasks)
    return _score_all(source, target, plan, tasks, say)


def _score_all(
    source: RunFolder,
    target: RunFolder,
    plan: Sequence[tuple[Cell, Cell]],
    tasks: Mapping[str, Any],
    say: Callable[[str], None],
) -> int:
    """Score all answered cells, given with what each is in the new run; how many could be."""
    scored = {cell.id: other for cell, other in plan}
    attempt = Attempt(target, last=True)
    for cell, origin in _origins(source, [cell for cell, _ in plan], say):
        cell_scored = scored[cell.id]
        task = tasks[cell_scored.task.name]
        if origin.lacks_perplexities(task):
            say(f"{cell}: left out, since its texts were not read yet: start the run again")
            continue
        say(str(cell_scored))
        try:
            _score(attempt, cell_scored, task, origin)
        except CellError as error:
            if origin.rows:
                raise
            say(f"{cell}: left out: {error}")
        if failure := attempt.errors.get(cell_scored.id):
            say(f"FAILED: {failure}")
    return len(attempt.stored)


def _with_tasks(grid: Grid, renamed: Mapping[str, str], include_hash: str) -> Grid:
    """The grid with other tasks, and without metrics that these do not have."""

    def task(spec: TaskSpec) -> TaskSpec:
        name = renamed.get(spec.name, spec.name)
        hashes = [each for each in (include_hash, spec.include_hash) if each]
        matching = next((each for each in hashes if name in names_in(each)), "")
        other = dataclasses.replace(spec, name=name, include_hash=matching)
        metric = spec.metric if spec.metric in card_of(grid, other).metrics else None
        return dataclasses.replace(other, metric=metric)

    tasks = tuple(task(spec) for spec in grid.tasks)
    select = grid.select
    if select is not None:
        known = {metric for spec in tasks for metric in card_of(grid, spec).metrics}
        select = dataclasses.replace(
            select,
            task=renamed.get(select.task, select.task) if select.task else None,
            metric=select.metric if select.metric in known else None,
        )
    return dataclasses.replace(grid, tasks=tasks, select=select)


def _manifest(
    before: Manifest, grid: Grid, cells: Sequence[Cell], tasks: Any, data_dir: Path | None
) -> Manifest:
    """The new folder's manifest: the models' answers are as old as they are, the scores new."""
    now = manifest(grid, cells, described(grid, tasks, data_dir))
    subjects = [task_subject(task.name) for task in grid.tasks]
    unchanged = {
        "versions": before.versions,
        "created": before.created,
        "machine": before.machine,
        "content": before.content | {subject: now.content[subject] for subject in subjects},
        "rescored": {"lm_eval": now.versions["lm_eval"], "created": now.created},
    }
    return now.model_copy(update=unchanged)


@dataclass(frozen=True)
class Origin:
    """Stored data of an answered cell."""

    responses: pa.Table
    """Its responses."""
    facts: CellFacts
    """Facts on how it was answered."""
    sides: Mapping[str, Mapping[str, Any]]
    """Fold by item, and split where it was scored."""
    rows: Sequence[Mapping[str, Any]] = ()
    """Its item rows; empty if it was not scored."""
    perplexities: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Log-likelihood and tokens by item of the texts of a cell that was not scored."""

    @property
    def generated(self) -> bool:
        """Whether its answers are texts."""
        return "generation" in self.responses["kind"].to_pylist()

    def lacks_perplexities(self, task: Any) -> bool:
        """Whether it was answered, and no model has read its texts yet."""
        return not self.rows and self.generated and not self.perplexities and wants_perplexity(task)


def _origins(
    source: RunFolder, cells: Sequence[Cell], say: Callable[[str], None]
) -> Iterator[tuple[Cell, Origin]]:
    """The cells that were answered: those that are finished, then those that are not."""
    finished = source.finished()
    for cell in cells:
        if cell.id in finished:
            items, responses = source.read_cell(cell.id)
            rows = items.to_pylist()
            sides = {row["item_id"]: {k: row[k] for k in ("fold", "split")} for row in rows}
            yield cell, Origin(responses, source.read_record(cell.id), sides, rows)
    store = AnswerStore(source.place)
    for name, left in begun(store, [cell for cell in cells if cell.id not in finished]):
        try:
            answered = Answered.read(store, name, left)
        except StoreError as error:
            say(f"answers are left out: {error}")
            continue
        for cell in left:
            yield cell, _kept(answered, cell)


def _kept(answered: Answered, cell: Cell) -> Origin:
    """Kept answers of a cell that was not scored."""
    facts = answered.facts[cell.id]
    return Origin(
        pa.Table.from_pylist(answered.responses(cell), schema=RESPONSE_SCHEMA),
        CellFacts.model_validate(
            {
                **facts,
                "displacement": answered.displacement(cell),
                "lost": dict(answered.lost_of(cell)),
            }
        ),
        {item: {"fold": fold} for item, fold in answered.folds(cell).items()},
        perplexities=answered.perplexities(cell),
    )


def _score(attempt: Attempt, cell: Cell, task: Any, origin: Origin) -> None:
    """Write the rows of one cell with their new scores, or its error; folds and splits stay what
    they were. Raises what the task raises before it has its answers."""
    lost, start = origin.facts.lost, time.perf_counter()
    stored = _Stored(origin.responses.to_pylist(), cell, lost)
    try:
        samples = without_lost(evaluated(stored, task, cell), lost)
        rows = _rows(samples, cell, task, origin)
    except Exception as error:
        if not stored.given:
            raise
        attempt.failed(cell, scoring_error(cell, error), start)
        return
    responses = origin.responses
    for name, value in (("cell_id", cell.id), ("task", cell.task.name)):
        index = responses.schema.get_field_index(name)
        column = pa.array([value] * len(responses), responses.schema.field(index).type)
        responses = responses.set_column(index, name, column)
    facts = {
        "name": str(cell),
        "identity": cell.identity,
        "content": origin.facts.content
        | {task_subject(cell.task.name): digest_of(content_of_task(task))},
        "metrics_without_numbers": without_numbers(samples),
        "metrics_without_direction": without_direction(
            samples, directions(known_card(cell.task), task)
        ),
    }
    table = pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)
    attempt.store.write_cell(cell.id, table, responses, origin.facts.model_copy(update=facts))
    attempt.stored.add(cell.id)


def _rows(
    samples: Sequence[dict[str, Any]], cell: Cell, task: Any, origin: Origin
) -> list[dict[str, Any]]:
    """The item rows of one cell: new scores, and what no scoring gives."""
    scored = list(item_rows(cell, known_card(cell.task), samples, lambda _: None, task))
    scored += perplexity_rows(scored, origin.perplexities)
    scored_rows = [row for row in scored if row["metric"] not in claimed(cell.task)]
    retained = {PERPLEXITY, *claimed(cell.task)}
    scored_items = [row["item_id"] for row in scored_rows]
    splits = assign_splits(scored_items, cell.validation_share, contents(samples, task))
    return [
        *(
            row | {"split": splits[row["item_id"]]} | dict(origin.sides[row["item_id"]])
            for row in scored_rows
        ),
        *({**row, **cell.summary()} for row in origin.rows if row["metric"] in retained),
    ]


class _Stored(Replay):
    """A model that answers as a cell did."""

    def __init__(
        self, responses: Sequence[dict[str, Any]], cell: Cell, lost: Collection[str]
    ) -> None:
        super().__init__({})
        self._cell, self._lost = cell, lost
        self._stored = {(row["item_id"], row["request"]): row for row in responses}

    def _answers(self, kind: str, requests: list[Instance]) -> list[Any]:
        if Counter(id(request) for request in requests).most_common(1)[0][1] > 1:
            raise CellError("the task asks for several answers", "Only the first is stored.")
        subtasks = known_card(self._cell.task).subtasks
        answers = [
            self._answer(kind, each.item_id, each.number)
            for each in named(kind, requests, subtasks)
        ]
        self.given = True
        return answers

    def _answer(self, kind: str, item: str, number: int) -> Any:
        if item in self._lost:
            return PLACEHOLDERS[kind]
        row = self._stored.get((item, number))
        wanted = "generation" if kind == "generate_until" else "loglikelihood"
        if row is None or row["kind"] != wanted:
            raise CellError(
                f"the run holds no {wanted} for request {number} of document {item}, which "
                f"{self._cell.task.name} asks for",
                "Score with a task that asks the same of the same documents.",
            )
        if wanted == "generation":
            return row["continuation"]
        value = row["log_likelihood"]
        return value if kind == "loglikelihood_rolling" else (value, row["is_greedy"])
