"""One try at a group of cells: errors are recorded, or left to another worker."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steereval.common.activity import current
from steereval.common.errors import CellError, SteerEvalError
from steereval.common.secrets import redacted
from steereval.common.text import first_line
from steereval.harness.planning.cell import Cell
from steereval.models.inference.memory import ran_out
from steereval.ray_jobs.work import Done
from steereval.results.store.cell_record import CellFacts, CellFailure, Environment, Timings
from steereval.results.store.run_folder import RunFolder


@dataclass
class Attempt:
    """The outcome of one try at a group of cells."""

    store: RunFolder
    """Where rows and errors go."""
    last: bool
    """Whether nobody tries again what fails unforeseen."""
    errors: dict[str, str] = field(default_factory=dict)
    """Recorded failures, by cell id."""
    again: set[str] = field(default_factory=set)
    """Ids of the cells that another worker should try."""
    stored: set[str] = field(default_factory=set)
    """Ids of the cells that were scored and stored."""

    def all_failed(self, cells: Sequence[Cell], error: Exception, start: float) -> None:
        """Record the same for each of `cells`."""
        for cell in cells:
            self.failed(cell, error, start)

    def failed(self, cell: Cell, error: Exception, start: float) -> None:
        """Record why `cell` failed, or leave it to another worker."""
        foreseen = isinstance(error, SteerEvalError) or ran_out(error)
        if foreseen or self.last:
            self.errors[cell.id] = _fail(self.store, cell, error, start)
        else:
            self.again.add(cell.id)

    def done(self, group: Sequence[Cell]) -> Done:
        """The report to the executor."""
        indices = tuple(index for index, cell in enumerate(group) if cell.id in self.again)
        return Done(GroupResult(self.errors, current().tokens), indices)


@dataclass(frozen=True)
class GroupResult:
    """The report on a group of cells."""

    errors: Mapping[str, str]
    """Recorded failures, by cell id."""
    tokens: int
    """Tokens that the model processed for the group; shared ones count once."""


def described(cell: Cell) -> dict[str, Any]:
    """Fields that every record has of its cell, as JSON has them."""
    return {"name": str(cell), "identity": cell.identity}


def _fail(store: RunFolder, cell: Cell, error: Exception, start: float) -> str:
    """Record that `cell` failed; the message."""
    reported = error
    if not isinstance(error, SteerEvalError):
        reported = CellError(
            f"{cell} failed with {type(error).__name__}: {first_line(error)}",
            "The traceback is in the cell's record.",
        )
        reported.__cause__ = error
    store.write_failure(cell.id, _failure(cell, reported, start))
    return str(reported)


def _failure(cell: Cell, error: Exception, start: float) -> CellFacts:
    return CellFacts(
        **described(cell),
        error=CellFailure(
            type=type(error).__name__,
            message=redacted(str(error)),
            traceback=[redacted(line) for line in traceback.format_exception(error)],
        ),
        timings=Timings(total_seconds=time.perf_counter() - start),
        environment=Environment(host=socket.gethostname(), pid=os.getpid()),
    )
