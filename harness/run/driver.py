"""A whole run: plan, manifest, workers, and what a second start finds already done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steereval.harness.config.grid import Grid
from steereval.harness.config.included import included_of
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.judging.rows import JudgeListener
from steereval.harness.judging.worker import JudgeWorker, assignments, work_items
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import refuse_other_content
from steereval.harness.planning.groups import group_id
from steereval.harness.planning.plan import make_plan, plan_notes
from steereval.harness.planning.preflight import Prepared, prepare
from steereval.harness.run.executors import executor_of, is_remote
from steereval.harness.run.first_verdicts import FirstVerdicts
from steereval.harness.run.group_parts import all_parts, largest_part
from steereval.harness.run.group_work import LOADING, LOADING_ON_CPU, work_of
from steereval.harness.run.manifest import manifest, manifest_before
from steereval.harness.run.opening import EFFICIENCY, cheapest_tasks_first, opening, product_speed
from steereval.harness.run.progress import Form, display
from steereval.harness.run.references import keep_included, keep_references
from steereval.harness.run.tracker import Tracker
from steereval.harness.run.worker import CellWorker
from steereval.models.inference.memory import release
from steereval.ray_jobs.work import Executor, Work
from steereval.results.analysis.lost_items import lost_items
from steereval.results.lm_eval.import_samples import carry_imports
from steereval.results.store.answers import AnswerStore
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.content import Content, seen_by_cells
from steereval.results.store.lease import check_driver, driving
from steereval.results.store.manifest import Manifest
from steereval.results.store.progress import ENDED, JUDGING, STOPPED, begin_progress, end_progress
from steereval.results.store.retired import at_hand, describe_retired, replan, settle
from steereval.results.store.run_folder import RunFolder


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    planned: int
    """Cells of the grid."""
    reused: int
    """Cells that were finished before."""
    failed: tuple[str, ...]
    """Cells that failed, by name."""
    unjudged: tuple[str, ...] = ()
    """Failed judgements, by name of judge and cell."""
    lost: tuple[str, ...] = ()
    """Items without a score, in words for each model and task."""


def run_grid(
    grid: Grid,
    out: Path | str,
    data_dir: Path | None,
    say: Callable[[str], None],
    form: Form = "auto",
) -> Summary:
    """Run every cell of `grid` that `out`, a path or a URI, does not hold yet.

    A failed cell is recorded and the rest runs; a later start tries it again. Raises InputError,
    or StoreError where the folder cannot be written to or another driver runs it.
    """
    cells = make_plan(grid)
    for sentence in plan_notes(grid, cells):
        say(sentence)
    store = RunFolder(out)
    store.create()
    with driving(store.place, say) as lease, executor_of(grid) as executor:
        stored = _stored(store, cells)
        begin_progress(store.place, lease.id, len(cells), len(stored.finished))
        if len(stored.finished) < len(cells):
            executor.begin()
        prepared = prepare(grid, data_dir, say)
        # A resumed run has the parts that it began with, on any machine.
        earlier = stored.manifest and stored.manifest.largest_group
        largest = earlier or largest_part(executor.cores())
        parts = all_parts(cells, prepared, largest)
        waiting = [left for group in parts if (left := _left(group, stored))]
        check_driver(store.place, lease.id)
        _write_plan(store, stored, grid, prepared, manifest(grid, cells, prepared, largest), say)
        _report_answered(waiting, stored.answered, say)
        settings = _worker_settings(grid, store, data_dir, waiting, lease.id, prepared.content)
        shown = len(cells), stored.finished, form
        works, speed = _works(grid, waiting, prepared, executor, say)
        failed = _run_groups(grid, works, settings, executor, shown, speed)
        # What workers that died had half written; another driver's workers may be writing.
        check_driver(store.place, lease.id)
        store.clean()
        AnswerStore(store.place).tidy(store.finished())
        unjudged = _judge(grid, cells, settings, executor, say)
    lost = lost_items([cell.planned() for cell in cells], store.records())
    return Summary(len(cells), len(stored.finished), failed, unjudged, tuple(lost))


@dataclass(frozen=True)
class _Stored:
    """The content of the run folder before this start."""

    manifest: Manifest | None
    """The manifest; None for a new run."""
    finished: frozenset[str]
    """Ids of the finished cells of the grid."""
    records: Mapping[str, CellRecord]
    """Records by cell id."""
    answered: Set[str]
    """Ids of cells whose answers are stored and not scored."""


def _stored(store: RunFolder, cells: Sequence[Cell]) -> _Stored:
    """Tidy the run folder and read what it holds of `cells`."""
    store.clean()
    earlier = manifest_before(store, cells)
    settle(store)
    held = at_hand(store, {cell.id for cell in cells})
    answers = AnswerStore(store.place)
    answers.tidy(held.finished)
    return _Stored(earlier, held.finished, held.records, answers.cells())


def _write_plan(
    store: RunFolder,
    stored: _Stored,
    grid: Grid,
    prepared: Prepared,
    planned: Manifest,
    say: Callable[[str], None],
) -> None:
    """Store the plan and the inputs that reports show. Raises InputError where stored cells were
    computed from other inputs."""
    ids = [cell.cell_id for cell in planned.cells]
    seen = seen_by_cells(stored.records)
    refuse_other_content(store.place, stored.manifest, seen, ids, prepared.content)
    _plan_again(store, stored.manifest, planned, say)
    keep_references(store.place, grid.tasks, prepared.loaded)
    keep_included(store.place, included_of(grid))
    if stored.finished:
        say(f"{len(stored.finished)} of {len(ids)} cells were finished before")


def _worker_settings(
    grid: Grid,
    store: RunFolder,
    data_dir: Path | None,
    waiting: Sequence[Sequence[Cell]],
    lease: str,
    content: Content,
) -> WorkerSettings:
    """The settings of workers that compute the cells of `waiting`."""
    return WorkerSettings(
        store.place.location,
        str(data_dir) if data_dir else None, grid.run.batch_size, grid.run.device,
        _one_of_each_fit([cell for group in waiting for cell in group]),
        grid.run.profile, lease, grid.repeat_batch_size, content, included_of(grid),
    )  # fmt: skip


def _plan_again(
    store: RunFolder, earlier: Manifest | None, planned: Manifest, say: Callable[[str], None]
) -> None:
    """Store the present plan, and report the cells that no longer count."""
    whole, lost = carry_imports(earlier, planned)
    replan(store, whole)
    for label in lost:
        say(f"samples of the imported arm {label} do not pair with this grid: import them again")
    if retired_cells := describe_retired(store):
        say(retired_cells)


def _report_answered(
    waiting: Sequence[Sequence[Cell]], answered: Set[str], say: Callable[[str], None]
) -> None:
    """Say how many cells were answered before."""
    if scored := sum(cell.id in answered for group in waiting for cell in group):
        say(f"the answers of {scored} cells were kept: these are scored without the model")


def _judge(
    grid: Grid,
    cells: Sequence[Cell],
    settings: WorkerSettings,
    executor: Executor,
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """Let judges read what the cells have answered; names what they could not judge."""
    if not _has_judges(grid):
        return ()
    # The steered model may still lie in memory that nothing needs any more.
    release()
    store = RunFolder(settings.run_folder)
    waiting = assignments(cells, store.finished(), store.records())
    listener = JudgeListener(store, settings.lease, len(waiting), say)
    state = STOPPED
    try:
        if waiting:
            works = work_items(waiting, grid.run)
            executor.run(works, partial(JudgeWorker, settings), listener)
        state = ENDED
    finally:
        end_progress(store.place, state)
    return tuple(listener.failures)


def _has_judges(grid: Grid) -> bool:
    return any(task.judges for task in grid.tasks)


def _one_of_each_fit(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A cell for each model, contrast, method and layers: what decides which states are read."""
    first_of: dict[str, Cell] = {}
    for cell in cells:
        if cell.contrast is not None:
            key = repr((cell.model, cell.contrast, cell.method.name, cell.method.options))
            first_of.setdefault(key, cell)
    return tuple(first_of.values())


def _left(group: Sequence[Cell], stored: _Stored) -> tuple[Cell, ...]:
    """The cells of a group that are answered or scored now: those that are not finished.

    Where the run was cut off while it stored this very group and not all answers of the rest are
    stored, all of it is answered again, so that the rest is equal to the last bit.
    """
    left = tuple(cell for cell in group if cell.id not in stored.finished)
    if all(cell.id in stored.answered for cell in left):
        return left
    records = stored.records
    done = [records[cell.id] for cell in group if cell.id in stored.finished]
    cut_off = all(
        record.group is not None and record.group.id == group_id(group) for record in done
    )
    # A disk that was full says nothing of the cell: its group was cut off.
    errors = [records[cell.id].error for cell in left if cell.id in records]
    failed = any(error is not None and error.type != "StoreError" for error in errors)
    return tuple(group) if left and done and cut_off and not failed else left


def _works(
    grid: Grid,
    waiting: Sequence[Sequence[Cell]],
    prepared: Prepared,
    executor: Executor,
    say: Callable[[str], None],
) -> tuple[list[Work], float | None]:
    """The groups as works for the executor, and the expected speed of a worker in 10^12 operations
    a second, where known; says how long they take."""
    if not waiting:
        return [], None
    on_cpu = executor.cores() is not None
    loading = LOADING_ON_CPU if on_cpu else LOADING
    works = cheapest_tasks_first([work_of(g, prepared, grid.run, loading) for g in waiting])
    speed = product_speed() if on_cpu and not is_remote(grid.run) else None
    say(opening(works, speed))
    return works, None if speed is None else EFFICIENCY * speed / 1e12


def _run_groups(
    grid: Grid,
    works: Sequence[Work],
    settings: WorkerSettings,
    executor: Executor,
    shown: tuple[int, frozenset[str], Form],
    speed: float | None,
) -> tuple[str, ...]:
    """Run the groups; names what failed."""
    planned, before, form = shown
    weights = {
        cell.id: work.cost / len(work.units)
        for work in works
        for cell in work.units
        if cell.id not in before
    }
    with display(form) as screen:
        store = RunFolder(settings.run_folder)
        tracker = Tracker(store, planned, before, weights, screen, settings.lease, speed)
        state = STOPPED
        try:
            if works:
                cells = [cell for work in works for cell in work.units]
                listener = FirstVerdicts(tracker, store, cells, screen.note)
                executor.run(works, partial(CellWorker, settings), listener)
            state = JUDGING if _has_judges(grid) else ENDED
        finally:
            tracker.stop(state)
    return tuple(tracker.failures.values())
