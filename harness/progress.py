"""Progress of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display(Protocol):
    """Hears what a run has to tell."""

    def say(self, line: str) -> None:
        """A line worth keeping."""
        ...

    def finished(self, name: str, seconds: float, error: str | None) -> None:
        """A cell is over."""
        ...


class Lines:
    """A line for each cell, with counts and the time left."""

    def __init__(self, total: int, already: int) -> None:
        """`total` cells, of which `already` were finished before."""
        self._total = total
        self._done = already
        self._already = already
        self._failed = 0
        self._start = time.monotonic()

    def say(self, line: str) -> None:
        """Print `line`."""
        print(line, file=sys.stderr, flush=True)

    def finished(self, name: str, seconds: float, error: str | None) -> None:
        """Print how the cell ended."""
        self._done += 1
        self._failed += error is not None
        here = self._done - self._already
        left = (time.monotonic() - self._start) / here * (self._total - self._done)
        outcome = f"{seconds:.1f} s" if error is None else f"FAILED: {error}"
        self.say(f"[{self._done}/{self._total}] {name}: {outcome}; about {left:.0f} s left")


class Live:
    """A bar at the foot of the terminal; failures stay above it."""

    def __init__(self, progress: Progress, total: int, already: int) -> None:
        """Show `total` cells, `already` of them finished."""
        self._progress = progress
        self._task = progress.add_task("cells", total=total, completed=already, now="", failed=0)
        self._failed = 0

    def say(self, line: str) -> None:
        """Print `line` above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)

    def finished(self, name: str, seconds: float, error: str | None) -> None:
        """Advance the bar."""
        if error is not None:
            self._failed += 1
            self.say(f"FAILED {name}: {error}")
        self._progress.update(
            self._task, advance=1, now=f"{name} ({seconds:.1f} s)", failed=self._failed
        )


@contextmanager
def display(total: int, already: int) -> Iterator[Display]:
    """The display that suits standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(total, already)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[red]{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Live(progress, total, already)
