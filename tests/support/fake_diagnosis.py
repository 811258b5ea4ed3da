"""Fake diagnoses with known answers, so that every sentence of the report can be foretold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fake_run import FakeMethod, FakeRun, FakeTask, generator_of, write_run

from steereval.results.store.diagnosis import (
    DATA,
    DIAGNOSIS_SCHEMA,
    JUDGES,
    UNSTEERED,
    Diagnosis,
    DiagnosisRecord,
    write_diagnosis,
)
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage

Floats = npt.NDArray[np.float64]

ITEMS, QUESTIONS, SEEDS, ROUNDS = 60, 20, (0, 1, 2), 8
LABELS = np.arange(ITEMS) % 2 == 0
STEPS = (1, 2, 5, 10)
DISPLACEMENTS = (0.02, 0.1)
STRENGTHS = {UNSTEERED: 0.0, DATA: 0.0, "caa": 2.0}


def around(mean: float, spread: float, *name: object, seeds: int = len(SEEDS)) -> Floats:
    """[items, seeds]: drawn by `name`, whose mean is exactly `mean`."""
    drawn = generator_of("diagnosis", *name).normal(0, spread, (ITEMS, seeds))
    return np.asarray(drawn - drawn.mean() + mean)


@dataclass(frozen=True)
class FakeDiagnosis:
    """What is to be found, for the methods of `flow_run`; each figure is a mean over items."""

    speed: dict[str, float]
    """Tokens per second; 100 unsteered."""

    slower_by_steps: float = 0.0
    """Loss of speed of the ODE from 1 to 10 steps, as a share."""

    auc_shift: tuple[float, float] = (3.0, 3.0)
    """Distance of the classes in standard deviations: where fitted, and at tokens."""

    gains: tuple[float, float] = (2.0, 1.0)
    """h gained at a displacement of 0.1: by odesteer, by gradient_ascent."""

    agreement: float = 0.9
    """Cosine of displacements between fits."""

    rises: float = 0.7
    """Share of rising steps under the barrier fitted on other data."""

    leaves: float = 0.5
    """Share of the ends that lie off the data; a twentieth of the starts does."""

    cosine: float = 0.98
    """Cosine of the field between places."""

    spread: float = 0.02
    """Of items."""

    model: str = "tiny"
    layer: str = "14"
    contrast: str = "truthful-mini"
    left_out: tuple[str, ...] = ()
    """Quantities that were not measured."""

    def table(self) -> pa.Table:
        rows = [row for row in self._rows() if row["quantity"] not in self.left_out]
        return pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA)

    def diagnosis(self) -> Diagnosis:
        return Diagnosis(self.table(), DiagnosisRecord(model=self.model))

    def diagnoses(self) -> dict[str, Diagnosis]:
        return {f"{self.model}-{self.layer}": self.diagnosis()}

    def _rows(self) -> Iterator[dict[str, Any]]:
        yield from self._cost()
        yield from self._positions()
        yield from self._integration()
        for method in ("odesteer", "caa"):
            yield from self._many("subset_agreement", method, around(self.agreement, 0.02, method))
            yield from self._directions(method)
        yield from self._barrier()
        yield from self._paths()

    def _row(self, quantity: str, method: str, value: float, **known: Any) -> dict[str, Any]:
        empty = dict.fromkeys(DIAGNOSIS_SCHEMA.names)
        place = {"model": self.model, "layer": self.layer, "contrast": self.contrast}
        strength = STRENGTHS.get(method, 10.0)
        facts = {"method": method, "strength": strength, "quantity": quantity}
        return empty | place | facts | {"value": float(value), "item_id": "0"} | known

    def _many(
        self, quantity: str, method: str, values: Floats, **known: Any
    ) -> Iterator[dict[str, Any]]:
        """`values` [items, seeds]; one column is of a method that draws nothing."""
        seeds = SEEDS if values.shape[1] > 1 else (None,)
        for column, seed in enumerate(seeds):
            for item in range(len(values)):
                names = {"item_id": f"s{item:03d}", "cluster_id": f"q{item % QUESTIONS}"}
                facts = {"fit_seed": seed, "label": bool(LABELS[item])} | names | known
                yield self._row(quantity, method, values[item, column], **facts)

    def _cost(self) -> Iterator[dict[str, Any]]:
        pace = generator_of("pace").normal(1.0, 0.1, ROUNDS)
        noise = {m: generator_of("noise", m).normal(0, 1e-3, ROUNDS) for m in self.speed}
        for r in range(ROUNDS):
            yield self._row("tokens_per_second", UNSTEERED, 100 * pace[r], item_id=str(r))
            for method, speed in self.speed.items():
                value = speed * pace[r] * (1 + noise[method][r])
                yield self._row("tokens_per_second", method, value, item_id=str(r))
            for steps in STEPS:
                loss = 1 - self.slower_by_steps * (steps - 1) / 9
                jitter = 1 + generator_of("steps", steps, r).normal(0, 2e-3)
                value = self.speed["odesteer"] * pace[r] * loss * jitter
                yield self._row(
                    "tokens_per_second", "odesteer", value, item_id=str(r), steps=steps,
                    solver="euler",
                )  # fmt: skip
        yield self._row("flops_per_token", UNSTEERED, 270e6)
        yield self._row("flops_per_token", "odesteer", 1.35e6)
        yield self._row("steerer_bytes", "odesteer", 5.3e6)

    def _positions(self) -> Iterator[dict[str, Any]]:
        fitted, acting = self.auc_shift
        for position in ("query", "last", "mean", "token 1", "token 4", "token 16"):
            shift = {"query": 0.0}.get(position, acting if "token" in position else fitted)
            scores = around(0.0, 1.0, position) + shift * LABELS[:, None]
            yield from self._many("probe_score", "odesteer", scores, position=position)

    def _integration(self) -> Iterator[dict[str, Any]]:
        for displacement in DISPLACEMENTS:
            for method, gain in zip(("odesteer", "gradient_ascent"), self.gains, strict=True):
                values = around(gain * displacement / 0.1, self.spread, method, displacement)
                yield from self._many(
                    "gain_at_displacement", method, values, judge="crossfit", strength=displacement
                )
        for solver, order in (("euler", 1), ("rk4", 4)):
            for steps in STEPS:
                error = 0.04 / steps**order
                values = around(error, error / 10, solver, steps)
                yield from self._many(
                    "endpoint_distance", "odesteer", values, solver=solver, steps=steps
                )
        yield from self._many(
            "one_step_distance", "odesteer", around(0.07, 0.01, "one step"), steps=10
        )

    def _barrier(self) -> Iterator[dict[str, Any]]:
        """A third of the items begins above 0; of the others half reach it, of all reached 3/4
        stay."""
        ones = np.ones((ITEMS, len(SEEDS)))
        below = ones * (np.arange(ITEMS) >= ITEMS // 3)[:, None]
        reaches = ones * (np.arange(ITEMS) < 2 * ITEMS // 3)[:, None]
        stays = ones * (np.arange(ITEMS) % 4 != 0)[:, None]
        for judge in JUDGES:
            rises = ones if judge == "own" else around(self.rises, self.spread, judge)
            for name, values in (
                *(("rises", rises), ("ascends", rises), ("starts_below", below)),
                ("reaches", reaches),
            ):
                yield from self._many(name, "odesteer", values, judge=judge)
            reached = [
                row
                for row in self._many("stays", "odesteer", stays, judge=judge)
                if int(row["item_id"][1:]) < 2 * ITEMS // 3
            ]
            yield from reached

    def _paths(self) -> Iterator[dict[str, Any]]:
        rank = np.arange(ITEMS)[:, None] * np.ones((1, len(SEEDS))) / ITEMS
        noise = around(0.0, 0.1, "paths")
        natural = np.linspace(0.0, 1.0, 41)
        for quantity in ("mahalanobis", "nearest"):
            for i, value in enumerate(natural):
                yield self._row(quantity, DATA, value, item_id=f"p{i}")
            for step in range(5):
                # of the starts a twentieth lies above the bound, of the ends the share `leaves`
                share = 0.05 + (self.leaves - 0.05) * step / 4
                far = np.where(rank >= 1 - share, 2.0, 0.5)
                yield from self._many(quantity, "odesteer", far, step=step)
        for judge in JUDGES:
            for step in range(5):
                h = noise + 1.5 * (2 * LABELS - 1)[:, None] + 0.3 * step
                yield from self._many("log_ratio", "odesteer", h, judge=judge, step=step)
        for step in range(5):
            values = 1 + 0.01 * step + around(0.0, 1e-3, "norm", step)
            yield from self._many("norm_ratio", "odesteer", values, step=step)

    def _directions(self, method: str) -> Iterator[dict[str, Any]]:
        cosine = self.cosine if method == "odesteer" else 1.0
        spread = self.spread / 10 if method == "odesteer" else 0.0
        yield from self._many("field_cosine", method, around(cosine, spread, "field", method))
        yield from self._many("mean_difference_cosine", method, around(0.8, spread, "mean", method))
        yield from self._many("path_stretch", method, around(1.002, spread / 10, "stretch", method))
        yield from self._many("turning", method, around(4.0, spread, "turning", method))


def flow_run(**changes: Any) -> FakeRun:
    """The ODE, its rivals and a constant vector, on a task in points and on perplexities."""
    known: dict[str, Any] = {
        "methods": (
            FakeMethod("odesteer", (10.0,), lambda task, s: 0.3 if task == "truth" else 0.05),
            FakeMethod("gradient_ascent", (10.0,), lambda task, s: 0.1 if task == "truth" else 0.0),
            FakeMethod("caa", (2.0,)),
        ),
        "tasks": (
            FakeTask("truth", n_clusters=12, n_validation=0, n_test=120),
            FakeTask(
                "texts", metric="perplexity", kind="ratio", higher_is_better=False,
                role="capability", n_validation=0, n_test=60,
            ),
        ),
        "fit_seeds": SEEDS,
        "select": None,
    }  # fmt: skip
    return FakeRun(**(known | changes))


def fake_diagnosis(**changes: Any) -> FakeDiagnosis:
    """The one in which nothing is amiss but the barrier property."""
    return FakeDiagnosis(**({"speed": {"odesteer": 93.0, "caa": 99.9}} | changes))


def diagnosed_run(path: Any, diagnosis: FakeDiagnosis | None = None, **changes: Any) -> RunFolder:
    """`flow_run` with its diagnosis, in the folder `path`."""
    run = write_run(flow_run(**changes), path)
    result = (diagnosis or fake_diagnosis()).diagnosis()
    write_diagnosis(LocalStorage(run.path), "tiny-14", result)
    return run
