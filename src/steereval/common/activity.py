"""What this process is doing: its phase, and the operations done for the work at hand.

Models count operations, workers name phases, executors read both from another thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STARTING = "starting"
LOADING = "loading the model"
FITTING = "fitting steerers"
ANSWERING = "answering"
SCORING = "scoring"


@dataclass(frozen=True)
class Activity:
    """A moment of the work at hand."""

    phase: str = ""
    """What is being done, such as `answering`; empty between phases."""
    operations: float = 0.0
    """Operations of the model since the work began."""


_phases: list[str] = []
_operations = [0.0]


def begin_work() -> None:
    """Count operations from here on."""
    _operations[0] = 0.0


def add_operations(count: float) -> None:
    """Count operations of the work at hand."""
    _operations[0] += count


@contextmanager
def doing(phase: str) -> Iterator[None]:
    """Name the phase of what happens inside the block."""
    _phases.append(phase)
    try:
        yield
    finally:
        _phases.pop()


def current() -> Activity:
    """The activity at this moment; may be called from any thread."""
    phases = list(_phases)
    return Activity(phases[-1] if phases else "", _operations[0])


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function on another thread, again and again while the block runs.

    Args:
        seconds: Time between two calls; the first comes after as long.
        call: Called without arguments. Its first error ends the calls and is raised at the end of
            the block.
    """
    ended, errors = threading.Event(), list[BaseException]()

    def run() -> None:
        while not ended.wait(seconds):
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised where the block ends
                errors.append(error)
                return

    thread = threading.Thread(target=run, name="every", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


QUIET_S = 10.0
"""Seconds after which, again and again, a long step says that it goes on."""


@contextmanager
def still(say: Callable[[str], None], what: str, seconds: float = QUIET_S) -> Iterator[None]:
    """Say every few seconds that a step goes on.

    Args:
        say: Prints a line.
        what: The step, such as `checking models`.
        seconds: Time between two lines; the first comes after as long.
    """
    start = time.monotonic()
    with every(seconds, lambda: say(f"{what}: {time.monotonic() - start:.0f} s")):
        yield
