"""Where the time of each group of cells went: one small file a group, in RUN/profile/.

Measured with `steereval run --profile`. A resumed run adds files; none is ever replaced by that
of another group, and no row depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steereval.errors import StoreError
from steereval.results.place import Place

FOLDER = "profile"
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


def write_profile(place: Place, profile: Profile) -> None:
    """Keep `profile` in the run folder at `place`. Raises StoreError."""
    place.make(FOLDER)
    text = json.dumps(vars(profile) | {"seconds": dict(profile.seconds)}, indent=2)
    place.write(f"{FOLDER}/{profile.group}.json", text.encode() + b"\n")


def read_profiles(place: Place) -> list[Profile]:
    """All that the run folder at `place` holds, by model, task and layer. Raises StoreError."""
    names = [name for name in sorted(place.sizes(FOLDER)) if name.endswith(".json")]
    found = [_read(place, f"{FOLDER}/{name}") for name in names]
    return sorted(found, key=lambda each: (each.model, each.task, each.layer))


def _read(place: Place, name: str) -> Profile:
    try:
        values: dict[str, Any] = json.loads(place.read(name) or b"")
        return Profile(**values)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{place.at(name)} cannot be read: {error}", "Delete it.") from error
