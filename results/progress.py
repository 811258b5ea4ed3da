"""How far a run is: one small file, `progress.json`, that the driver replaces as it goes."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from steereval.errors import StoreError
from steereval.results.place import Place

FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """A run at one moment."""

    state: str
    """`running`, `judging` (all cells are answered), `ended` or `stopped`."""
    planned: int
    """Cells of the grid."""
    reused: int
    """Cells that were finished before this start."""
    done: int
    """Cells that are finished, those included."""
    failed: int
    """Cells that failed since this start."""
    running: tuple[str, ...]
    """Cells that are being answered, by name."""
    waiting: int
    """Cells that nobody has begun."""
    tokens: int
    """Tokens of the answers since this start."""
    elapsed: float
    """Seconds since this start."""
    remaining: float | None
    """Expected seconds to the end; None until a cell has ended."""
    updated: float
    """Unix time."""
    errors: tuple[str, ...] = field(default=())
    """The failed cells with their errors."""

    @property
    def tokens_per_second(self) -> float:
        """Of the answers, since this start."""
        return self.tokens / self.elapsed if self.elapsed else 0.0

    def plain(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return asdict(self) | {"tokens_per_second": self.tokens_per_second}


def write_progress(place: Place, progress: Progress) -> None:
    """Replace the file in the run folder at `place`. Raises StoreError."""
    place.write(FILE, json.dumps(progress.plain()).encode() + b"\n")


def end_progress(place: Place, state: str) -> None:
    """Say in the run folder at `place` that what came after the cells is over: `ended` or
    `stopped`. A folder that cannot be written keeps the last word."""
    with suppress(StoreError):
        now = read_progress(place)
        if now is not None:
            write_progress(place, replace(now, state=state, updated=time.time()))


def read_progress(place: Place) -> Progress | None:
    """What the run folder at `place` says; None if it says nothing yet. Raises StoreError."""
    data = place.read(FILE)
    if data is None:
        return None
    try:
        values = json.loads(data)
        values.pop("tokens_per_second")
        lists = {name: tuple(values[name]) for name in ("running", "errors")}
        return Progress(**values | lists)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{place.at(FILE)} cannot be read: {error}", "Delete it.") from error
