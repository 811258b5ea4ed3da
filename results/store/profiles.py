"""Where the time of each group of cells went: one small file a group, in RUN/profile/.

Measured with `steereval run --profile`. A resumed run adds files; none is ever replaced by that
of another group, and no row depends on them.
"""

from __future__ import annotations

from functools import cache

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from steereval.common.errors import StoreError
from steereval.common.validation import faults_of
from steereval.results.store.document import CONFIG
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


@dataclass(frozen=True, config=CONFIG)
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
    seconds: dict[str, float]
    """By phase."""
    ids: tuple[str, ...] = ()
    """The cells; empty in files of before this was kept."""


@cache
def _adapter() -> TypeAdapter[Profile]:
    return TypeAdapter(Profile)


def write_profile(place: Storage, profile: Profile) -> None:
    """Keep `profile` in the run folder at `place`. Raises StoreError."""
    place.make(FOLDER)
    place.write(f"{FOLDER}/{profile.group}.json", _adapter().dump_json(profile, indent=2) + b"\n")


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
    profiles = [p for p in every if members is None or not p.ids or not members.isdisjoint(p.ids)]
    return sorted(profiles, key=lambda each: (each.model, each.task, each.layer))


def _read(place: Storage, name: str) -> Profile:
    try:
        return _adapter().validate_json(place.read(name) or b"")
    except ValidationError as error:
        first = faults_of(error, Profile, "")[0]
        raise StoreError(f"{place.at(name)}: {first.problem}", "Delete it.") from error
