"""Where the time of each group of cells went: one small file a group, in RUN/profile/.

Measured with `steereval run --profile`. A resumed run adds files; none is ever replaced by that
of another group, and no row depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steereval.common.errors import StoreError
from steereval.results.store.storage import Storage

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
    ids: tuple[str, ...] = ()
    """The cells; empty in files of before this was kept."""


def write_profile(place: Storage, profile: Profile) -> None:
    """Keep `profile` in the run folder at `place`. Raises StoreError."""
    place.make(FOLDER)
    text = json.dumps(vars(profile) | {"seconds": dict(profile.seconds)}, indent=2)
    place.write(f"{FOLDER}/{profile.group}.json", text.encode() + b"\n")


def read_profiles(place: Storage, members: frozenset[str] | None = None) -> list[Profile]:
    """The profiles in the run folder at `place`.

    Args:
        place: The run folder.
        members: Ids of the run's cells; groups without any of them are left out. None: all count.

    Returns:
        A profile for each group, by model, task and layer.

    Raises:
        StoreError: If a file is damaged.
    """
    names = [name for name in sorted(place.sizes(FOLDER)) if name.endswith(".json")]
    every = [_read(place, f"{FOLDER}/{name}") for name in names]
    found = [p for p in every if members is None or not p.ids or not members.isdisjoint(p.ids)]
    return sorted(found, key=lambda each: (each.model, each.task, each.layer))


def _read(place: Storage, name: str) -> Profile:
    try:
        values: dict[str, Any] = json.loads(place.read(name) or b"")
        return Profile(**values | {"ids": tuple(values.get("ids", ()))})
    except (ValueError, TypeError) as error:
        raise StoreError(f"{place.at(name)} cannot be read: {error}", "Delete it.") from error
