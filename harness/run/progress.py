"""Progress of a run: a live display on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

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


class Lines:
    """A line for each cell, with counts and the time left."""

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Print cells that ended, not those that still run."""
        if ended is not None:
            over = now.done + now.failed
            line = f"[{over}/{now.planned}] {ended}; {remaining(now)}"
            print(line, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print it."""
        print(text, file=sys.stderr, flush=True)


class JsonLines:
    """The same as a line of JSON for each change."""

    def show(self, now: progress.Progress, ended: str | None = None) -> None:
        """Print the whole state."""
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
        if ended is not None and "FAILED" in ended:
            self._bar.console.print(ended, markup=False, highlight=False)
        failed = f", [red]{now.failed} failed[/red]" if now.failed else ""
        self._bar.update(
            self._task,
            total=now.planned,
            completed=now.done + now.failed,
            counts=f"{now.done} of {now.planned}{failed}, {len(now.running)} running",
            rest=f"{now.tokens_per_second:.0f} tokens/s, {remaining(now)}",
        )

    def note(self, text: str) -> None:
        """Print it above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)


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
