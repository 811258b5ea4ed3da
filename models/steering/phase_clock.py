"""Where time goes: the seconds that each phase of the work takes, the innermost one counting.

Nothing is measured unless a clock runs, since on an accelerator each phase must wait for what was
queued before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch


@dataclass
class Clock:
    """Seconds by phase; the time of a phase within another counts for the inner one alone."""

    device: str
    """Where the work is queued, such as `cuda:0`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Measured seconds by phase."""
    _phases: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside the block as `name`."""
        self._turn()
        self._phases.append(name)
        try:
            yield
        finally:
            self._turn()
            self._phases.pop()

    def _turn(self) -> None:
        """Give the time since the last turn to the phase at work."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._phases:
            name = self._phases[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


_running: ContextVar[Clock | None] = ContextVar("running", default=None)


@contextmanager
def measured(clock: Clock) -> Iterator[Clock]:
    """Let `clock` run inside the block."""
    token = _running.set(clock)
    try:
        yield clock
    finally:
        _running.reset(token)


def phase(name: str) -> AbstractContextManager[None]:
    """Counts what happens inside as `name`, if a clock runs."""
    clock = _running.get()
    return nullcontext() if clock is None else clock.phase(name)
