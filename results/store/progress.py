"""How far a run is: one small file, `progress.json`, that the driver replaces as it goes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError, computed_field
from pydantic.dataclasses import dataclass

from steereval.common.errors import StoreError
from steereval.common.validation import faults_of
from steereval.results.store.document import CONFIG
from steereval.results.store.lease import Life, Observer
from steereval.results.store.storage import Storage

FILE = "progress.json"
WRITTEN_S = 2.0
"""Least seconds between two writes of the file."""

RUNNING, JUDGING, ENDED, STOPPED = "running", "judging", "ended", "stopped"
"""States that a driver writes; judging begins when all cells are answered."""
STARTING = "starting"
"""As seen from outside: another driver has taken over and has not written anything yet."""
INTERRUPTED = "interrupted"
"""As seen from outside: the driver died before it could say how the run ended."""


@dataclass(frozen=True, config={**CONFIG, "extra": "ignore"})
class Progress:
    """A run at one moment."""

    state: str
    """`running`, `judging`, `ended` or `stopped`; from outside also `starting` or `interrupted`."""
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
    """Tokens that models have processed since this start; those that arms share count once."""
    elapsed: float
    """Seconds since this start."""
    remaining: float | None
    """Expected seconds to the end; None while nothing is known of the speed."""
    updated: float
    """Unix time."""
    errors: tuple[str, ...] = ()
    """The failed cells with their errors."""
    driver: str = ""
    """Id of the driver that wrote it; empty in files of before this was kept."""
    interrupted: tuple[str, ...] = ()
    """Cells that were being answered when the driver died, by name."""
    share: float | None = None
    """Share of this start's operations that is done, from 0 to 1; None in files of before this was
    kept."""
    phases: tuple[str, ...] = ()
    """Phases of the workers, such as `answering`, each once."""
    requests: tuple[int, int] = (0, 0)
    """Of the running groups: requests answered, one for each arm, and requests asked so far."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def tokens_per_second(self) -> float:
        """Processed tokens over the seconds since this start."""
        return self.tokens / self.elapsed if self.elapsed else 0.0

    def plain(self) -> dict[str, Any]:
        """As it stands in JSON."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return plain

    @property
    def is_over(self) -> bool:
        """Whether nobody is at work on the run."""
        return self.state in (ENDED, STOPPED, INTERRUPTED)

    def seen(self, life: Life, driver: str) -> Progress:
        """The progress as it is where the driver can no longer say so itself.

        Args:
            life: What is known of the folder's driver.
            driver: Its id.

        Returns:
            `self`, or for a run that claims to go on and whose driver is gone its interrupted
            state: the cells that were being answered are waiting.
        """
        if self.state not in (RUNNING, JUDGING):
            return self
        lives = life in (Life.ALIVE, Life.UNKNOWN)
        if lives and self.driver in ("", driver):
            return self
        return replace(
            self,
            state=STARTING if lives else INTERRUPTED,
            running=(),
            interrupted=self.running,
            waiting=self.waiting + len(self.running),
            remaining=None,
        )


@cache
def _adapter() -> TypeAdapter[Progress]:
    return TypeAdapter(Progress)


def write_progress(place: Storage, progress: Progress) -> None:
    """Replace the file in the run folder at `place`. Raises StoreError."""
    place.write(FILE, _adapter().dump_json(progress) + b"\n")


def end_progress(place: Storage, state: str) -> None:
    """Say in the run folder at `place` that what came after the cells is over: `ended` or
    `stopped`. A folder that cannot be written keeps the last word."""
    with suppress(StoreError):
        now = read_progress(place)
        if now is not None:
            write_progress(place, replace(now, state=state, updated=time.time()))


def begin_progress(place: Storage, driver: str, planned: int, finished: int) -> None:
    """Say in the run folder at `place` that a driver has begun, before it has checked its inputs.

    Args:
        place: The run folder.
        driver: The driver's id.
        planned: Cells of the grid.
        finished: Those that are finished.
    """
    with suppress(StoreError):
        write_progress(
            place,
            Progress(
                state=RUNNING, planned=planned, reused=finished, done=finished, failed=0,
                running=(), waiting=planned - finished, tokens=0, elapsed=0.0, remaining=None,
                updated=time.time(), driver=driver, phases=("checking inputs",),
            ),
        )  # fmt: skip


def renew_progress(place: Storage, phase: str) -> None:
    """Say in the run folder at `place` what goes on after the cells. A folder that cannot be
    written keeps the last word."""
    with suppress(StoreError):
        now = read_progress(place)
        if now is not None:
            write_progress(place, replace(now, updated=time.time(), phases=(phase,)))


def read_progress(place: Storage) -> Progress | None:
    """The progress in the run folder at `place`; None if there is none yet. Raises StoreError."""
    data = place.read(FILE)
    if data is None:
        return None
    try:
        return _adapter().validate_json(data)
    except ValidationError as error:
        first = faults_of(error, Progress, "")[0]
        raise StoreError(f"{place.at(FILE)}: {first.problem}", "Delete it.") from error


def watched_progress(observer: Observer, life: Life) -> Progress | None:
    """How far the run that `observer` watches is, now that it says `life` of its driver.

    None if the folder says nothing yet. Raises StoreError.
    """
    progress = read_progress(observer.place)
    return None if progress is None else progress.seen(life, observer.driver)
