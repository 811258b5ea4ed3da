"""What executors run, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from steereval.errors import SteerEvalError


@dataclass(frozen=True)
class Work:
    """A piece of work."""

    id: str
    """Names it in outcomes."""
    cost: float
    """Expected cost, in any unit; dearer work starts earlier."""
    affinity: str
    """Work of one key prefers one worker, which keeps what it loaded for it."""
    payload: Any
    """Handed to the worker."""


@dataclass(frozen=True)
class Outcome:
    """A piece of work that is over."""

    work: Work
    """Which."""
    error: SteerEvalError | None
    """Why it failed; None if it did not."""
    seconds: float
    """How long it took."""
    result: Any = None
    """What the worker returned; None if it failed."""


class Worker(Protocol):
    """Does work, one piece at a time, and keeps what it loaded."""

    def run(self, payload: Any) -> Any:
        """Do one piece; what it returns is told. A SteerEvalError means that this piece failed
        and the next may come."""
        ...


WorkerFactory = Callable[[], Worker]
Listener = Callable[[Outcome], None]


class Executor(Protocol):
    """Runs work on workers made by a factory."""

    def run(self, works: Sequence[Work], factory: WorkerFactory, listen: Listener) -> None:
        """Run all of `works`; `listen` hears of each as it ends."""
        ...
