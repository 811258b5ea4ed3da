"""`steereval diagnose`: measurements on activations, written into a run folder for its report.

For every model, contrast set and layers of a grid the steerers are fitted to one part of the
contrast, judged by barriers fitted to another, and measured on the third.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from steereval.common.activity import DIAGNOSING, QUIET_S, Activity, doing
from steereval.common.errors import CellError, SteerEvalError
from steereval.harness.config.grid import Grid
from steereval.harness.diagnose.material import material_of
from steereval.harness.diagnose.measurements import Measuring, Say
from steereval.harness.diagnose.units import Unit, units_of
from steereval.harness.engine.environment import environment
from steereval.harness.engine.fit_request import fit_request
from steereval.harness.engine.loading import WorkerSettings, load_model
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import (
    Witness,
    content_of_contrasts,
    content_of_models,
    refuse_other_content,
)
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.preflight import load_contrasts, prepare
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.run.executors import executor_of
from steereval.harness.run.group_work import affinity
from steereval.harness.run.manifest import manifest, manifest_before
from steereval.ray_jobs.work import Done, Outcome, Work
from steereval.results.store.cell_record import Environment
from steereval.results.store.content import Content, seen_by_cells, seen_by_diagnoses
from steereval.results.store.diagnosis import (
    FOLDER,
    Diagnosis,
    diagnosed,
    errors_of,
    remove_diagnosis,
    write_diagnosis,
)
from steereval.results.store.lease import check_driver, driving
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import storage_of


def diagnose_grid(
    grid: Grid, out: Path | str, data_dir: Path | None, say: Say
) -> tuple[str, ...]:  # fmt: skip
    """Measure every unit of `grid` that the run folder `out` does not hold whole; what failed.

    Raises InputError, ContrastError for a contrast set that is too small, or StoreError.
    """
    store = RunFolder(out)
    units = units_of(grid, TaskResources(data_dir))
    content = _content(grid, data_dir)
    with driving(store.place, say) as lease:
        store.place.sweep(FOLDER)
        there = diagnosed(store.place)
        whole = {name for name in there if not errors_of(store.place, name)}
        _refuse_other_content(store, content, whole & {unit.name for unit in units})
        waiting = [unit for unit in units if unit.name not in whole]
        if len(waiting) < len(units):
            say(f"{len(units) - len(waiting)} of {len(units)} diagnoses were there before")
        settings = WorkerSettings(
            store.place.location, str(data_dir) if data_dir else None, grid.run.batch_size,
            grid.run.device, lease=lease.id, content=content,
        )  # fmt: skip
        heard = _Heard(say, len(waiting))
        if waiting:
            factory = partial(DiagnoseWorker, settings, say)
            with executor_of(grid) as executor:
                executor.run([_work(unit) for unit in waiting], factory, heard)
        for name in there - {unit.name for unit in units}:
            remove_diagnosis(store.place, name)
    return tuple(heard.failures)


def _content(grid: Grid, data_dir: Path | None) -> Content:
    """Content that a diagnosis is computed from: the models and the contrast sets."""
    contrasts = content_of_contrasts(load_contrasts(grid, data_dir))
    return {**contrasts, **content_of_models(grid)}


def _refuse_other_content(store: RunFolder, content: Content, whole: Set[str]) -> None:
    """Raise InputError where the run's cells, or diagnoses, were computed from something else."""
    earlier = store.read_manifest()
    ids = {cell.cell_id for cell in earlier.cells}
    refuse_other_content(store.place, earlier, seen_by_cells(store.records()), ids, content)
    diagnoses = seen_by_diagnoses(store.place, whole)
    refuse_other_content(store.place, earlier, diagnoses, whole, content)


def check_diagnosis(grid: Grid, data_dir: Path | None) -> None:
    """Raise a SteerEvalError now that `diagnose_grid` would raise once a run is over."""
    units_of(grid, TaskResources(data_dir))


def diagnose_alone(
    grid: Grid, out: Path | str, data_dir: Path | None, say: Say
) -> tuple[str, ...]:  # fmt: skip
    """As `diagnose_grid`, in a folder that need not hold a run: it gets a manifest."""
    store, cells = RunFolder(out), make_plan(grid)
    check_diagnosis(grid, data_dir)
    if not manifest_before(store, cells):
        store.create()
        store.write_manifest(manifest(grid, cells, prepare(grid, data_dir, say)))
    return diagnose_grid(grid, out, data_dir, say)


def _work(unit: Unit) -> Work:
    model = unit.cells[0].model
    return Work(unit.name, (unit,), len(unit.cells), affinity(unit.cells[0]), 1.0, model.gpus)


@dataclass
class _Heard:
    """Prints units that begin and end."""

    say: Say
    planned: int
    failures: list[str] = field(default_factory=list)
    over: int = 0
    clock: Callable[[], float] = time.monotonic
    said: float = float("-inf")

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """These are being measured."""
        for unit in units:
            self.say(f"diagnosing {unit}: {len(unit.cells)} steerers ({worker})")

    def advanced(self, units: tuple[Any, ...], activity: Activity) -> None:
        """The worker of these is this far; from any thread."""
        if self.clock() - self.said >= QUIET_S:
            self.said = self.clock()
            names = ", ".join(str(unit) for unit in units)
            self.say(f"{activity.phase or DIAGNOSING} {names}; {self.over} of {self.planned} done")

    def ended(self, outcome: Outcome) -> None:
        """These are over."""
        for unit in outcome.units:
            self.over += 1
            errors = {} if outcome.result is None else outcome.result
            if outcome.error is not None:
                errors = {"all of it": str(outcome.error)}
            self.failures += [f"{unit}: {label}: {error}" for label, error in errors.items()]
            state = f"{len(errors)} failed" if errors else "done"
            took = f"{outcome.seconds:.0f} s"
            self.say(f"diagnosis {self.over} of {self.planned}: {unit}: {state}, {took}")


@dataclass
class DiagnoseWorker:
    """Measures units and keeps the model between those of one model."""

    settings: WorkerSettings
    """Where and how."""
    say: Say
    """Called with a line for each method."""
    _loaded: tuple[str, SteeredLM] | None = None
    _resources: TaskResources = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing loaded."""
        data_dir = self.settings.data_dir
        self._resources = TaskResources(Path(data_dir) if data_dir else None)
        self._witness = Witness(self.settings.content, self._resources)

    def run(self, units: tuple[Unit, ...], last: bool) -> Done:
        """Measure `units`, store what was found, and return the errors by method.

        An error that the program did not foresee may come from a broken device: unless this is
        the `last` try, the unit is left to another worker.
        """
        errors, again = dict[str, str](), list[int]()
        for number, unit in enumerate(units):
            try:
                with doing(DIAGNOSING):
                    diagnosis = self._measure(unit)
            except SteerEvalError:
                raise
            except Exception as error:
                if not last:
                    again.append(number)
                    continue
                reason = f"{type(error).__name__}: {error}"
                raise CellError(f"the diagnosis of {unit} failed with {reason}") from error
            place = storage_of(self.settings.run_folder)
            check_driver(place, self.settings.lease)
            write_diagnosis(place, unit.name, diagnosis)
            errors |= diagnosis.record.errors
        return Done(errors, tuple(again))

    def _measure(self, unit: Unit) -> Diagnosis:
        start = time.perf_counter()
        lm = self._model(unit.cells[0])
        contrast = self._resources.contrast(unit.contrast)
        for cell in unit.cells:
            lm.fitter.expect(contrast, fit_request(cell))
        measuring = Measuring(unit, lm, material_of(unit, contrast, lm.fitter), self.say)
        measuring.all()
        record = measuring.record().model_copy(
            update={
                "content": self._witness.fit_of(unit.cells[0]),
                "seconds": time.perf_counter() - start,
                "environment": Environment.model_validate(environment(str(lm.device))),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        return Diagnosis(measuring.rows.table(), record)

    def _model(self, cell: Cell) -> SteeredLM:
        key = affinity(cell)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            with self._witness.loading(cell.model):
                lm = load_model(cell.model.without_layers(), self.settings)
            self._loaded = (key, lm)
        return self._loaded[1]
