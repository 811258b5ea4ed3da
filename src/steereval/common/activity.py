"""The activity of this process: its phase, and the work done since the work at hand began.

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
JUDGING = "judging"
DIAGNOSING = "measuring"


@dataclass(frozen=True)
class Activity:
    """A moment of the work at hand."""

    phase: str = ""
    """The phase, such as `answering`; empty between phases."""
    operations: float = 0.0
    """Operations of the model since the work began."""
    tokens: int = 0
    """Tokens that the model has processed since then; shared ones count once."""
    requests: int = 0
    """Requests answered since then, one for each arm."""
    expected: int = 0
    """Requests that were asked since then."""


@dataclass
class _Counts:
    operations: float = 0.0
    tokens: int = 0
    requests: int = 0
    expected: int = 0


_phases: list[str] = []
_counts = _Counts()


def begin_work() -> None:
    """Count from zero."""
    global _counts
    _counts = _Counts()


def add_operations(count: float) -> None:
    """Count operations of the work at hand."""
    _counts.operations += count


def add_tokens(count: int) -> None:
    """Count tokens that the model processes."""
    _counts.tokens += count


def expect_requests(count: int) -> None:
    """Count requests that are asked."""
    _counts.expected += count


def add_requests(count: int) -> None:
    """Count requests that are answered."""
    _counts.requests += count


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
    phases, counts = list(_phases), _counts
    return Activity(
        phases[-1] if phases else "",
        counts.operations, counts.tokens, counts.requests, counts.expected,
    )  # fmt: skip


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
"""Seconds without a line after which a long step says how far it is."""


class Voice:
    """Lines that a command prints, so that it can print others while there are none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a line just printed."""
        self._clock = clock
        self._start = self._last = clock()

    def heard(self) -> None:
        """Note that a line was printed."""
        self._last = self._clock()

    def due(self, seconds: float) -> str | None:
        """The line to print after that many seconds without one: the phase, and the seconds since
        the command began; None if it is too early."""
        if self._clock() - self._last < seconds:
            return None
        self.heard()
        return f"{current().phase or 'at work'}, {self._clock() - self._start:.0f} s so far"


_listening: list[Voice] = []


@contextmanager
def listening(voice: Voice) -> Iterator[None]:
    """Let a voice hear of lines that are printed inside the block."""
    _listening.append(voice)
    try:
        yield
    finally:
        _listening.remove(voice)


def printed() -> None:
    """Note that a line was printed, or a display renewed."""
    for voice in list(_listening):
        voice.heard()
