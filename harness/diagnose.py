"""`steereval diagnose`: measurements on activations, written into a run folder for its report.

For every model, contrast set and layers of a grid the steerers are fitted to one part of the
contrast, judged by barriers fitted to another, and measured on the third.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from steereval.diagnosis_cost import Timed, measure_cost, with_other_steps
from steereval.diagnosis_material import Material, material_of
from steereval.diagnosis_plan import Unit, units_of
from steereval.diagnosis_rows import Rows, Setting
from steereval.diagnosis_steering import (
    Arm,
    measure_agreement,
    measure_arm,
    measure_data,
    measure_matched,
    measure_natural,
)
from steereval.errors import CellError, FitError, SteerEvalError, StoreError
from steereval.fitting import FitRequest
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.sites import Site
from steereval.models.steerer import Steerer
from steereval.plan import Cell, make_plan
from steereval.preflight import prepare
from steereval.ray_jobs.work import Done, Outcome, Work
from steereval.results.diagnosis import (
    FOLDER,
    Diagnosis,
    diagnosed,
    remove_diagnosis,
    write_diagnosis,
)
from steereval.results.lease import check_driver, driving
from steereval.results.place import place_of
from steereval.results.store import RunFolder
from steereval.run import WorkerSettings, environment, fit_request, load_model
from steereval.session import affinity, executor_of, manifest, manifest_before
from steereval.spec import Grid, ModelSpec
from steereval.steered_lm import SteeredLM
from steereval.supplies import Supplies

Say = Callable[[str], None]
JUDGE_SEEDS = 1000
"""What the hash seed of a judging barrier lies above the steerer's fit seed."""
MULTI_STEP = "odesteer"
"""The method that is timed with several numbers of steps, and whose barrier judges all."""
PROMPTS = 4
"""Texts that are decoded to time steering."""


def diagnose_grid(
    grid: Grid, out: Path | str, data_dir: Path | None, say: Say
) -> tuple[str, ...]:  # fmt: skip
    """Measure every unit of `grid` that the run folder `out` does not hold yet; what failed.

    Raises InputError, ContrastError for a contrast set that is too small, or StoreError.
    """
    store = RunFolder(out)
    units = units_of(grid, Supplies(data_dir))
    with driving(store.place) as lease:
        store.place.sweep(FOLDER)
        there = diagnosed(store.place)
        waiting = [unit for unit in units if unit.name not in there]
        if len(waiting) < len(units):
            say(f"{len(units) - len(waiting)} of {len(units)} diagnoses were there before")
        settings = WorkerSettings(
            store.place.location, str(data_dir) if data_dir else None, grid.run.batch_size,
            grid.run.device, lease=lease.id,
        )  # fmt: skip
        heard = _Heard(say, len(waiting))
        if waiting:
            factory = partial(DiagnoseWorker, settings, say)
            executor_of(grid).run([_work(unit) for unit in waiting], factory, heard)
        for name in there - {unit.name for unit in units}:
            remove_diagnosis(store.place, name)
    return tuple(heard.failures)


def check_diagnosis(grid: Grid, data_dir: Path | None) -> None:
    """Raise a SteerEvalError now that `diagnose_grid` would raise once a run is over."""
    units_of(grid, Supplies(data_dir))


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
    """Tells of units that begin and end."""

    say: Say
    planned: int
    failures: list[str] = field(default_factory=list)
    over: int = 0

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """These are being measured."""
        for unit in units:
            self.say(f"diagnosing {unit}: {len(unit.cells)} steerers ({worker})")

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
    """Hears of each method."""
    _loaded: tuple[str, SteeredLM] | None = None
    _supplies: Supplies = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing loaded."""
        data_dir = self.settings.data_dir
        self._supplies = Supplies(Path(data_dir) if data_dir else None)

    def run(self, units: tuple[Unit, ...], last: bool) -> Done:
        """Measure `units`, store what was found, and return the errors by method.

        An error that the program did not foresee may come from a broken device: unless this is
        the `last` try, the unit is left to another worker.
        """
        errors, again = dict[str, str](), list[int]()
        for number, unit in enumerate(units):
            try:
                found = self._measure(unit)
            except SteerEvalError:
                raise
            except Exception as error:
                if not last:
                    again.append(number)
                    continue
                reason = f"{type(error).__name__}: {error}"
                raise CellError(f"the diagnosis of {unit} failed with {reason}") from error
            place = place_of(self.settings.run_folder)
            check_driver(place, self.settings.lease)
            write_diagnosis(place, unit.name, found)
            errors |= found.record["errors"]
        return Done(errors, tuple(again))

    def _measure(self, unit: Unit) -> Diagnosis:
        start = time.perf_counter()
        lm = self._model(unit.cells[0])
        contrast = self._supplies.contrast(unit.contrast)
        for cell in unit.cells:
            lm.fitter.expect(contrast, fit_request(cell))
        measuring = Measuring(unit, lm, material_of(unit, contrast, lm.fitter), self.say)
        measuring.all()
        record = measuring.record() | {
            "seconds": time.perf_counter() - start,
            "environment": environment(str(lm.device)),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return Diagnosis(measuring.rows.table(), record)

    def _model(self, cell: Cell) -> SteeredLM:
        key = affinity(cell)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            spec = cell.model
            bare = ModelSpec(spec.name, (), spec.dtype, spec.revision, spec.peft, gpus=spec.gpus)
            self._loaded = (key, load_model(bare, self.settings))
        return self._loaded[1]


@dataclass
class Measuring:
    """The measurements of one unit."""

    unit: Unit
    """What is measured."""
    lm: SteeredLM
    """The model."""
    material: Material
    """What is measured on."""
    say: Say
    """Hears of each method."""
    rows: Rows = field(init=False)
    """What was found."""
    errors: dict[str, str] = field(default_factory=dict)
    """Why methods failed, by label."""
    unreached: dict[str, list[float]] = field(default_factory=dict)
    """Displacements, in median norms, that no strength of a method reaches."""
    _judges: dict[int | None, dict[str, BarrierFlow]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with no rows."""
        unit, material = self.unit, self.material
        place = {
            "model": unit.cells[0].model.name,
            "layer": unit.layer,
            "contrast": unit.contrast.name,
        }
        self.rows = Rows(place, material.ids, material.clusters, material.labels)

    def all(self) -> None:
        """Measure everything; what fails is told by `errors` and leaves no rows."""
        measure_natural(self.rows, self.material)
        timed: list[Timed] = []
        labels = itertools.groupby(self.unit.cells, key=lambda cell: cell.label)
        for label, cells in labels:
            mark, start = self.rows.mark(), time.perf_counter()
            try:
                timed += self._method(list(cells))
                self.say(f"  {label}: {time.perf_counter() - start:.1f} s")
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded
                self.rows.back_to(mark)
                told = isinstance(error, SteerEvalError)
                self.errors[label] = str(error) if told else f"{type(error).__name__}: {error}"
                self.say(f"  {label}: FAILED: {self.errors[label]}")
        for seed, judges in self._judges.items():
            measure_data(self.rows, self.material, seed, judges)
        self.say("  timing")
        measure_cost(self.rows, self.lm.model, self._prompts(), timed)

    def _method(self, cells: Sequence[Cell]) -> list[Timed]:
        """Measure a method at all its strengths and fit seeds; how it is timed.

        The multi-step flow is timed with other numbers of steps too.
        """
        moved: dict[float, list[tuple[Setting, Tensor]]] = {}
        matched = set[int | None]()
        for cell in cells:
            setting = Setting(cell.label, cell.strength, cell.fit_seed)
            judges = self._judges_of(cell)
            steerer = self._steerer(cell)
            arm = Arm.of(setting, steerer, cell.method.unit, self.material)
            measure_arm(self.rows, arm, self.material, judges)
            moved.setdefault(cell.strength, []).append((setting, arm.displacement(self.material)))
            if cell.fit_seed not in matched:
                matched.add(cell.fit_seed)
                self._match(arm, judges["crossfit"])
        for alike in moved.values():
            measure_agreement(self.rows, alike)
        first = cells[0]
        setting = Setting(first.label, first.strength, first.fit_seed)
        own = Timed(setting, self._steerers(first), first.method.unit, first.positions)
        return [own, *(with_other_steps(own) if first.method.name == MULTI_STEP else ())]

    def _match(self, arm: Arm, judge: BarrierFlow) -> None:
        for part in measure_matched(self.rows, arm, self.material, judge):
            missing = self.unreached.setdefault(arm.setting.method, [])
            if part not in missing:
                missing.append(part)

    def _steerers(self, cell: Cell) -> Mapping[Site, Steerer]:
        material, fitter = self.material, self.lm.fitter
        return fitter.fit_part(material.contrast, material.fit, fit_request(cell)).steerers

    def _steerer(self, cell: Cell) -> Steerer:
        """What acts at the site of the measurements. Raises FitError if nothing does."""
        steerers = self._steerers(cell)
        if self.material.site not in steerers:
            raise FitError(
                f"{cell.label} gives no steerer at block {self.material.site}",
                "Diagnose it at another layer.",
            )
        return steerers[self.material.site]

    def _judges_of(self, cell: Cell) -> dict[str, BarrierFlow]:
        """Barriers with other hash functions than a steerer of the cell's fit seed has."""
        if cell.fit_seed not in self._judges:
            material, site = self.material, self.material.site
            request = FitRequest(
                MULTI_STEP, {}, str(site), self.unit.contrast.template, 1.0,
                JUDGE_SEEDS + (cell.fit_seed or 0),
            )  # fmt: skip
            found = {}
            for judge, part in (("crossfit", material.judge), ("other_hash", material.fit)):
                fitted = self.lm.fitter.fit_part(material.contrast, part, request)
                barrier = fitted.steerers[site]
                assert isinstance(barrier, BarrierFlow)
                found[judge] = barrier
            self._judges[cell.fit_seed] = found
        return self._judges[cell.fit_seed]

    def _prompts(self) -> list[list[int]]:
        """Tokens of a few of the statements up to their answers, or of their first halves."""
        found = []
        for statement in self.material.statements[:PROMPTS]:
            text = self.lm.fitter.store.text(statement, self.unit.contrast.template)
            end = text.start if statement.question is not None else len(text.tokens) // 2
            found.append(list(text.tokens[: max(end, 1)]))
        return found

    def record(self) -> dict[str, Any]:
        """What is said of the measurements as a whole."""
        unit = self.unit
        return {
            "model": unit.cells[0].model.name,
            "layer": unit.layer,
            "block": self.material.site.layer,
            "contrast": unit.contrast.name,
            "contrast_hash": unit.contrast_hash,
            "items": len(self.material.statements),
            "counts": self.material.counts(),
            "errors": self.errors,
            "left_out": dict(unit.left_out),
            "unreached": self.unreached,
        }
