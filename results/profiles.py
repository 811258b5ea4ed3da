"""Where the time of each group of cells went: one small file a group, in RUN/profile/.

Measured with `steereval run --profile`. A resumed run adds files; none is ever replaced by that
of another group, and no row depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steereval.errors import StoreError
from steereval.results import atomic

PHASES = (
    "waiting",
    "loading",
    "fitting",
    "prefill",
    "continuations",
    "steering",
    "scoring",
    "storing",
)
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Profile:
    """The time of one group."""

    group: str
    """Its id."""
    model: str
    """The model's name."""
    task: str
    """The task's name."""
    layer: str
    """The steered layers."""
    cells: int
    """How many cells were answered together."""
    seconds: Mapping[str, float]
    """By phase."""


def write_profile(run: Path, profile: Profile) -> None:
    """Keep `profile` in the run folder `run`. Raises StoreError."""
    folder = run / "profile"
    with atomic.naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(vars(profile) | {"seconds": dict(profile.seconds)}, indent=2)
    atomic.write_bytes(folder / f"{profile.group}.json", text.encode() + b"\n")


def read_profiles(run: Path) -> list[Profile]:
    """All that the run folder `run` holds, by model, task and layer. Raises StoreError."""
    found = [_read(path) for path in sorted((run / "profile").glob("[!.]*.json"))]
    return sorted(found, key=lambda each: (each.model, each.task, each.layer))


def _read(path: Path) -> Profile:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        return Profile(**values)
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", "Delete it.") from error
