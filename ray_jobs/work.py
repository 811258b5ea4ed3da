"""Work that executors run, and the reports of its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from steereval.common.activity import Activity
from steereval.common.errors import SteerEvalError


@dataclass(frozen=True)
class Work:
    """A piece of work."""

    id: str
    """Names it in outcomes."""
    units: tuple[Any, ...]
    """Handed to the worker together; it can be cut between any two of them."""
    cost: float
    """Expected cost of all units, in any unit that all works share."""
    affinity: str
    """Work of one key prefers a worker that holds what it loaded for that key."""
    load: float = 0.0
    """Expected cost of loading what the affinity names."""
    size: float = 1.0
    """GPUs that its worker takes; without GPUs every worker counts as one."""
    limit: float | None = None
    """Seconds after which its worker counts as hung; None: never."""

    def parts(self, count: int) -> list[Work]:
        """The same units as at most `count` works of nearly equal numbers of units."""
        total = len(self.units)
        count = min(count, total)
        bounds = [total * index // count for index in range(count + 1)]
        return [
            self._part(f"{index + 1}of{count}", self.units[low:high])
            for index, (low, high) in enumerate(itertools.pairwise(bounds))
        ]

    def only(self, indices: Sequence[int]) -> Work:
        """This work with the units at `indices` left."""
        return self._part("again", tuple(self.units[index] for index in indices))

    def _part(self, name: str, units: tuple[Any, ...]) -> Work:
        share = len(units) / len(self.units)
        return replace(
            self,
            id=f"{self.id}.{name}",
            units=units,
            cost=self.cost * share,
            limit=None if self.limit is None else self.limit * share,
        )


@dataclass(frozen=True)
class Done:
    """A worker's report on a piece of work that did not crash it."""

    result: Any = None
    """The report to the listener."""
    again: tuple[int, ...] = ()
    """Places of the units that another worker should try, since this one may be what is broken."""


@dataclass(frozen=True)
class Outcome:
    """Units of work that are over."""

    units: tuple[Any, ...]
    """Which."""
    error: SteerEvalError | None
    """Why all of them failed; None if a worker came through them."""
    seconds: float
    """How long it took."""
    result: Any = None
    """The worker's result; None if it crashed."""


def ended(work: Work, done: Done, seconds: float) -> Outcome:
    """The outcome of the units of `work` that are not tried again."""
    units = tuple(unit for index, unit in enumerate(work.units) if index not in done.again)
    return Outcome(units, None, seconds, done.result)


class Worker(Protocol):
    """Does work, one piece at a time, and keeps what it loaded."""

    def run(self, units: tuple[Any, ...], last: bool, /) -> Done:
        """Do one piece. A SteerEvalError means that all its units failed and the next piece may
        come. `last` says that nobody tries again what is returned under `again`."""
        ...


WorkerFactory = Callable[[], Worker]


class Listener(Protocol):
    """Receives the reports of a run."""

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        """`worker` was given these units."""
        ...

    def advanced(self, units: tuple[Any, ...], activity: Activity) -> None:
        """The worker of these units is this far; may be called from another thread."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """These units are over."""
        ...


class Executor(Protocol):
    """Runs work on workers made by a factory, once or several times within a `with`."""

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        ...

    def __exit__(self, *_: object) -> None:
        """End what the executor started."""
        ...

    def begin(self) -> object:
        """Start what `run` would wait for, and return meanwhile."""
        ...

    def cores(self) -> float | None:
        """Cores of the smallest worker; None where workers have GPUs. Waits for what `begin`
        starts."""
        ...

    def run(self, works: Sequence[Work], factory: WorkerFactory, listener: Listener) -> None:
        """Run all of `works`; the end of every unit is reported once."""
        ...
