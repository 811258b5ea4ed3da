"""Judgements become rows: a cell is rewritten with them, by the driver alone.

A cell whose judges are not all in its record is answered and not yet judged; a later start judges
it without answering again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from steereval.common.activity import JUDGING, QUIET_S, Activity
from steereval.harness.config.grid import TaskSpec
from steereval.harness.judging.worker import Assignment, Judged, Judgement
from steereval.harness.planning.task_cards import claimed
from steereval.ray_jobs.work import Outcome
from steereval.results.store.lease import check_driver
from steereval.results.store.progress import WRITTEN_S, renew_progress
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA
from steereval.tasks.judges.judge import Value
from steereval.tasks.judges.registry import JOINT, JUDGES, judged_metrics


def write_judgement(store: RunFolder, unit: Assignment, judgement: Judgement) -> None:
    """Add one judge's scores to the rows and the record of a cell. Raises StoreError."""
    items, _ = store.read_cell(unit.cell.id)
    record = store.read_record(unit.cell.id)
    name = unit.judge.name
    facts = {
        "judges": record.judges | {name: dict(judgement.facts)},
        "content": record.content | dict(judgement.content),
        "judge_errors": {k: v for k, v in record.judge_errors.items() if k != name},
    }
    rows = with_judgement(unit.cell.task, items.to_pylist(), judgement.values)
    table = pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)
    store.replace_items(unit.cell.id, table, record.model_copy(update=facts))


def write_judge_error(store: RunFolder, unit: Assignment, error: str) -> None:
    """Say in a cell's record why a judge could not judge it; its rows stay. Raises StoreError."""
    items, _ = store.read_cell(unit.cell.id)
    record = store.read_record(unit.cell.id)
    errors = record.judge_errors | {unit.judge.name: error}
    facts = record.model_copy(update={"judge_errors": errors})
    store.replace_items(unit.cell.id, items, facts)


def with_judgement(
    task: TaskSpec,
    rows: list[dict[str, Any]],
    values: Mapping[str, Mapping[str, Value]],
) -> list[dict[str, Any]]:
    """The rows of a cell with those of one judge, by item, and with the joint rate of two."""
    first = {row["item_id"]: row for row in reversed(rows)}
    added = list(_rows(first, values))
    new = {row["metric"] for row in added} | {JOINT}
    others = [row for row in rows if row["metric"] not in new]
    both = [*others, *added]
    return [*both, *_rows(first, _joint(both))] if JOINT in claimed(task) else both


def _rows(
    first: Mapping[str, dict[str, Any]], values: Mapping[str, Mapping[str, Value]]
) -> Iterator[dict[str, Any]]:
    known = judged_metrics(JUDGES, True)
    for item, metrics in values.items():
        for metric, (value, weight) in metrics.items():
            better = {"metric": metric, "higher_is_better": known[metric].higher_is_better}
            yield first[item] | better | {"value": value, "weight": weight}


def _joint(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Value]]:
    """1 for items that are true and informative, where both are known."""
    parts: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["metric"] in ("true", "informative"):
            parts.setdefault(row["item_id"], {})[row["metric"]] = row["value"]
    return {
        item: {JOINT: (each["true"] * each["informative"], 1.0)}
        for item, each in parts.items()
        if len(each) == 2
    }


@dataclass
class JudgeListener:
    """Receives judged cells, and writes their scores."""

    store: RunFolder
    """The run folder."""
    lease_id: str
    """The driver that this is."""
    total: int
    """Assignments of this start."""
    say: Callable[[str], None]
    """Prints to the user."""
    failures: list[str] = field(default_factory=list)
    """Cells that could not be judged, with the reasons."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that pass."""
    _over: int = 0
    _said: float = float("-inf")
    _written: float = float("-inf")

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """These assignments are given to a worker."""
        self.say(f"{JUDGING} {len(units)} cells ({worker})")
        self._renew(JUDGING, units)

    def advanced(self, units: tuple[Any, ...], activity: Activity) -> None:
        """The worker of these assignments is this far; from any thread."""
        phase = activity.phase or JUDGING
        self._renew(phase, units)
        if self.clock() - self._said >= QUIET_S:
            self._said = self.clock()
            self.say(f"{phase}: {self._over} of {self.total} cells are judged")

    def _renew(self, phase: str, units: tuple[Any, ...]) -> None:
        """Show whoever watches the run folder that judging goes on."""
        if self.clock() - self._written >= WRITTEN_S:
            self._written = self.clock()
            judged = f"{phase} {len(units)} cells; {self._over} of {self.total} are judged"
            renew_progress(self.store.place, judged)

    def ended(self, outcome: Outcome) -> None:
        """These assignments are over."""
        check_driver(self.store.place, self.lease_id)
        units: tuple[Assignment, ...] = outcome.units
        for unit in units:
            self._over += 1
            error = self._write(unit, outcome)
            if error is not None:
                self.failures.append(f"{unit}: {error}")
            state = "judged" if error is None else f"FAILED: {error}"
            self._said = self.clock()
            self.say(f"[{self._over}/{self.total}] {unit}: {state}")

    def _write(self, unit: Assignment, outcome: Outcome) -> str | None:
        """Write what became of one cell; the error if it was not judged."""
        if outcome.error is not None:
            error = str(outcome.error)
        else:
            result: Judged = outcome.result
            if unit.cell.id in result.judgements:
                write_judgement(self.store, unit, result.judgements[unit.cell.id])
                return None
            error = result.errors[unit.cell.id]
        write_judge_error(self.store, unit, error)
        return error
