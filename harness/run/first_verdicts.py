"""The verdicts of the first task that is done, while the others still run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from steereval.common.activity import Activity
from steereval.common.errors import SteerEvalError
from steereval.harness.planning.cell import Cell
from steereval.ray_jobs.work import Listener, Outcome
from steereval.results.store.run_folder import RunFolder


@dataclass
class FirstVerdicts:
    """Passes on what a run reports, and shows verdicts once all cells of one task are done.

    They are preliminary: the p-values are adjusted for the comparisons of that task alone.
    """

    listener: Listener
    """Where outcomes are passed on to."""
    store: RunFolder
    """The run folder."""
    waiting: Sequence[Cell]
    """The cells that this start answers."""
    note: Callable[[str], None]
    """Shows text while the run continues."""
    _ended: set[str] = field(default_factory=set)
    _is_shown: bool = False

    def began(self, units: tuple[Cell, ...], worker: str) -> None:
        """Pass it on."""
        self.listener.began(units, worker)

    def advanced(self, units: tuple[Cell, ...], activity: Activity) -> None:
        """Pass it on."""
        self.listener.advanced(units, activity)

    def ended(self, outcome: Outcome) -> None:
        """Pass it on, and show the verdicts if this ends the first task and others are left."""
        self.listener.ended(outcome)
        self._ended |= {cell.id for cell in outcome.units}
        if self._is_shown:
            return
        left = {cell.task.name for cell in self.waiting if cell.id not in self._ended}
        done = [cell.task.name for cell in outcome.units if cell.task.name not in left]
        if done and left:
            self._is_shown = True
            self._note(done[0])

    def _note(self, task: str) -> None:
        # Imported here: the first cell does not wait for it.
        from steereval.results.analysis.run_analysis import analyse
        from steereval.results.report.writers.terminal import verdict_lines

        try:
            analysis = analyse(self.store)
        except SteerEvalError:
            # Nothing to compare yet, or cells that failed: the report at the end says so.
            return
        heading = f"Preliminary: {task} is complete, the other tasks are still running."
        self.note("\n".join([heading, *verdict_lines(analysis)]))
