"""Progress of a run: a live display on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from steereval.common.activity import QUIET_S, printed
from steereval.common.text import visible
from steereval.results.store import progress

Form = Literal["auto", "lines", "json"]
FORMS: tuple[Form, ...] = ("auto", "lines", "json")
"""How progress is shown; `auto` is live on a terminal and lines elsewhere."""


class Display(Protocol):
    """Shows how far a run is."""

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Show the run as it is `now`; `ended` says what has just ended, and how."""
        ...

    def note(self, text: str) -> None:
        """Show `text`, of one or more lines, while the run continues."""
        ...


@dataclass
class Lines:
    """A line for each cell, and one every few seconds while none ends."""

    clock: Callable[[], float] = time.monotonic
    """Seconds that pass."""
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been printed."""
        self._last = self.clock()

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Print a cell that ended, or, after a while, what goes on."""
        if ended is not None:
            over = now.done + now.failed
            self._print(f"[{over}/{now.planned}] {ended}; {remaining(now)}")
        elif now.state == progress.RUNNING and self.clock() - self._last >= QUIET_S:
            self._print(f"{inside(now)}; {remaining(now)}")

    def note(self, text: str) -> None:
        """Print it."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._last = self.clock()
        printed()
        print(text, file=sys.stderr, flush=True)


@dataclass
class JsonLines:
    """The same as lines of JSON, each the whole state."""

    clock: Callable[[], float] = time.monotonic
    """Seconds that pass."""
    _last: float = float("-inf")
    _shown: tuple[Any, ...] = ()

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Print the state where cells have begun or ended, and after a while."""
        counted = (now.state, now.done, now.failed, now.running, now.waiting)
        if ended is not None or counted != self._shown or self.clock() - self._last >= QUIET_S:
            self._last, self._shown = self.clock(), counted
            printed()
            print(json.dumps(now.plain() | {"ended": ended}), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print nothing: every line is a state, and a program reads verdicts from the tables."""


class Live:
    """A bar at the foot of the terminal; failures stay above it."""

    def __init__(self, bar: Progress) -> None:
        """Show the run in `bar`."""
        self._bar = bar
        self._task = bar.add_task("cells", total=None, counts="", rest="")

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Advance the bar."""
        printed()
        if ended is not None and "FAILED" in ended:
            self._bar.console.print(visible(ended), markup=False, highlight=False)
        failed = f", [red]{now.failed} failed[/red]" if now.failed else ""
        before = now.reused / now.planned if now.planned else 0.0
        share = before + (1 - before) * now.share if now.share is not None else None
        over = now.done + now.failed
        self._bar.update(
            self._task,
            total=now.planned,
            completed=over if share is None else share * now.planned,
            counts=f"{now.done} of {now.planned}{failed}, {len(now.running)} running",
            rest=f"{inside(now)}, {remaining(now)}",
        )

    def note(self, text: str) -> None:
        """Print it above the bar."""
        self._bar.console.print(visible(text), markup=False, highlight=False)


def inside(now: progress.Progress) -> str:
    """The workers' phases, the answered requests, and the share of the work that is done."""
    doing = " and ".join(now.phases) or ("preparing" if now.running else "waiting")
    cells = f" {len(now.running)} cells" if now.running else ""
    answered, asked = now.requests
    requests = f", {answered} of {asked} requests" if asked else ""
    share = "" if now.share is None else f", {now.share:.0%} of the work done"
    return f"{doing}{cells}{requests}{share}"


def remaining(now: progress.Progress) -> str:
    """The time left, in words."""
    if now.state == progress.INTERRUPTED:
        return f"interrupted, {len(now.interrupted)} cells were running; start it again to resume"
    if now.state != progress.RUNNING:
        return now.state
    if now.remaining is None:
        return "time left unknown"
    seconds = int(now.remaining)
    if seconds < 120:
        return f"about {seconds} s left"
    if seconds < 7200:
        return f"about {seconds // 60} min left"
    return f"about {seconds / 3600:.1f} h left"


@contextmanager
def display(form: Form = "auto") -> Iterator[Display]:
    """The display that suits standard error."""
    console = Console(stderr=True)
    if form == "json":
        yield JsonLines()
        return
    if form == "lines" or not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TextColumn("{task.fields[rest]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Live(bar)
