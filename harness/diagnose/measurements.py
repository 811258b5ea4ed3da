"""The measurements of one unit of a diagnosis, method by method."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from steereval.common.errors import FitError, SteerEvalError, StoreError
from steereval.harness.diagnose.cost import Timed, measure_cost, with_other_steps
from steereval.harness.diagnose.material import Material
from steereval.harness.diagnose.rows import Rows, Setting
from steereval.harness.diagnose.steering import (
    Arm,
    measure_agreement,
    measure_arm,
    measure_data,
    measure_integrators,
    measure_matched,
    measure_natural,
)
from steereval.harness.diagnose.units import Unit
from steereval.harness.engine.fit_request import FitRequest, fit_request
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.cell import Cell
from steereval.models.artefacts.artefact import Artefact
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.steering.hook_points import Site
from steereval.models.steering.steerer import Steerer
from steereval.results.store.diagnosis import DiagnosisRecord

Say = Callable[[str], None]
JUDGE_SEEDS = 1000
"""Offset of a judging barrier's hash seed from the steerer's fit seed."""
MULTI_STEP = "odesteer"
"""The method that is timed with several numbers of steps, and whose barrier judges all."""
PROMPTS = 4
"""Texts that are decoded to time steering."""


@dataclass
class Measuring:
    """The measurements of one unit."""

    unit: Unit
    """The steerers to measure."""
    lm: SteeredLM
    """The model."""
    material: Material
    """The held-out data."""
    say: Say
    """Called with a line for each method."""
    rows: Rows = field(init=False)
    """The measured values."""
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
        """Measure everything; a failure is in `errors` and leaves no rows."""
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
            except Exception as error:  # noqa: BLE001 - every error is recorded
                self.rows.back_to(mark)
                is_deliberate = isinstance(error, SteerEvalError)
                self.errors[label] = (
                    str(error) if is_deliberate else f"{type(error).__name__}: {error}"
                )
                self.say(f"  {label}: FAILED: {self.errors[label]}")
        for seed, judges in self._judges.items():
            measure_data(self.rows, self.material, seed, judges)
        if timed:
            self.say("  timing")
            measure_cost(self.rows, self.lm.model, self._prompts(), timed)

    def _method(self, cells: Sequence[Cell]) -> list[Timed]:
        """Measure a method at all its strengths and fit seeds; how it is timed, if it is.

        The multi-step flow is timed with other numbers of steps too.
        """
        moved: dict[float, list[tuple[Setting, Tensor]]] = {}
        matched = set[int | None]()
        for cell in cells:
            setting = Setting(cell.label, cell.strength, cell.fit_seed)
            judges = self._judges_of(cell)
            steerer = self._steerer(cell)
            strength = self._strengths(cell)[self.material.site]
            arm = Arm.of(setting, steerer, strength, self.material)
            measure_arm(self.rows, arm, self.material, judges)
            # How well a solver does hardly depends on the fit.
            if cell.fit_seed == cells[0].fit_seed:
                measure_integrators(self.rows, arm, self.material)
            moved.setdefault(cell.strength, []).append((setting, arm.displacement(self.material)))
            if cell.fit_seed not in matched:
                matched.add(cell.fit_seed)
                self._match(arm, judges["crossfit"])
        for alike in moved.values():
            measure_agreement(self.rows, alike)
        first = cells[0]
        if first.label not in self.unit.timed:
            return []
        setting = Setting(first.label, first.strength, first.fit_seed)
        steerers, strengths = self._artefact(first).steerers, self._strengths(first)
        timed = Timed(setting, steerers, strengths, first.positions)
        return [timed, *(with_other_steps(timed) if first.method.name == MULTI_STEP else ())]

    def _match(self, arm: Arm, judge: BarrierFlow) -> None:
        for part in measure_matched(self.rows, arm, self.material, judge):
            missing = self.unreached.setdefault(arm.setting.method, [])
            if part not in missing:
                missing.append(part)

    def _artefact(self, cell: Cell) -> Artefact:
        material, fitter = self.material, self.lm.fitter
        return fitter.fit_part(material.contrast, material.fit, fit_request(cell))

    def _strengths(self, cell: Cell) -> Mapping[Site, float]:
        """The cell's strength at each site in the method's own unit."""
        artefact, unit = self._artefact(cell), cell.method.unit
        if unit == "displacement":
            material, fitter = self.material, self.lm.fitter
            return fitter.matched(
                material.contrast, material.fit, fit_request(cell), artefact, cell.strength
            )
        return {
            site: steerer.absolute_strength(cell.strength, unit)
            for site, steerer in artefact.steerers.items()
        }

    def _steerer(self, cell: Cell) -> Steerer:
        """The steerer at the site of the measurements. Raises FitError if there is none."""
        steerers = self._artefact(cell).steerers
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
                JUDGE_SEEDS + (cell.fit_seed or 0), token=self.unit.contrast.token,
            )  # fmt: skip
            barriers = {}
            for judge, part in (("crossfit", material.judge), ("other_hash", material.fit)):
                fitted = self.lm.fitter.fit_part(material.contrast, part, request)
                barrier = fitted.steerers[site]
                assert isinstance(barrier, BarrierFlow)
                barriers[judge] = barrier
            self._judges[cell.fit_seed] = barriers
        return self._judges[cell.fit_seed]

    def _prompts(self) -> list[list[int]]:
        """Tokens of a few of the statements up to their answers, or of their first halves."""
        prompts = []
        for statement in self.material.statements[:PROMPTS]:
            text = self.lm.fitter.store.text(statement, self.unit.contrast.template)
            end = text.start if statement.question is not None else len(text.tokens) // 2
            prompts.append(list(text.tokens[: max(end, 1)]))
        return prompts

    def record(self) -> DiagnosisRecord:
        """The record of the measurements as a whole."""
        unit = self.unit
        return DiagnosisRecord(
            model=unit.cells[0].model.name,
            layer=unit.layer,
            block=self.material.site.layer,
            contrast=unit.contrast.name,
            contrast_hash=unit.contrast_hash,
            items=len(self.material.statements),
            counts=self.material.counts(),
            errors=self.errors,
            left_out=dict(unit.left_out),
            unreached=self.unreached,
        )
