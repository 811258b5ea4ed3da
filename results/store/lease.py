"""Who runs a run folder: one driver at a time, and a dead one's folder can be taken over.

The driver keeps a small file in the folder, `driver.json`, and renews it. Workers look at it before
they store anything, so that those of a driver that was taken for dead keep their hands off.

Whether a driver lives is never a question of two clocks. On its own machine (the same boot and the
same process numbers) its process is looked for. Anywhere else an observer watches the file: one
that changes within `STALE` seconds of the observer's own clock belongs to a living driver, however
wrong the time in it is.
"""

from __future__ import annotations

import enum
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from steereval.common.errors import StoreError
from steereval.common.reading import parse_json
from steereval.results.store.storage import LocalStorage, Storage

FILE = "driver.json"
RENEWED = 10.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without a sign of life after which a driver on another machine counts as dead."""
LOOKING = 1.0
"""Seconds between two looks at another driver's file."""
GLANCE = 3 * RENEWED
"""Seconds of watching after which a question that decides nothing is answered."""

SAME = 2.5
"""Seconds by which two readings of a process's start may differ: the kernel rounds each."""

_SIGN = {"id", "host", "pid", "born", "seen"}
"""Fields that every version writes; `machine` and `beat` came later."""


class Life(enum.Enum):
    """State of a folder's driver."""

    NONE = "none"
    """There is no driver."""
    ALIVE = "alive"
    """Its process is there, or its file has changed."""
    DEAD = "dead"
    """Its process is gone, or its file has not changed for `STALE` seconds."""
    UNKNOWN = "unknown"
    """It is on another machine and has not been watched long enough."""


def holder(place: Storage) -> dict[str, Any] | None:
    """Content of the driver's file; None without a file, or with one that shows no sign of life.

    Raises:
        StoreError: If the folder cannot be read.
    """
    data = place.read(FILE)
    with suppress(ValueError):
        sign = parse_json(data or b"null")
        if isinstance(sign, dict) and sign.keys() >= _SIGN:
            return sign
    return None


@dataclass
class Observer:
    """Finds out by looking again and again whether a folder's driver lives."""

    place: Storage
    """The run folder."""
    _sign: dict[str, Any] | None = None
    _since: float = 0.0
    _changed: bool = False

    def look(self) -> Life:
        """The state as it is known now.

        Raises:
            StoreError: If the folder cannot be read.
        """
        sign, now = holder(self.place), time.monotonic()
        if sign != self._sign:
            self._changed = None not in (sign, self._sign)
            self._sign, self._since = sign, now
        if sign is None:
            return Life.NONE
        if (lives := _process_lives(sign)) is not None:
            return Life.ALIVE if lives else Life.DEAD
        if now - self._since >= STALE:
            return Life.DEAD
        return Life.ALIVE if self._changed else Life.UNKNOWN

    def glance(self) -> Life:
        """The most likely state, for a question that decides nothing, such as how far a run is.

        A driver elsewhere whose file says a time near this machine's is taken to live, which at
        worst is believed for `STALE` seconds too long. Any other, also one whose time lies ahead,
        is watched for `GLANCE` seconds.

        Returns:
            NONE, ALIVE or DEAD.

        Raises:
            StoreError: If the folder cannot be read.
        """
        life, start = self.look(), time.monotonic()
        if life is Life.UNKNOWN and self._sign and abs(time.time() - self._sign["seen"]) < STALE:
            return Life.ALIVE
        while life is Life.UNKNOWN and time.monotonic() - start < GLANCE:
            time.sleep(LOOKING)
            life = self.look()
        return Life.DEAD if life is Life.UNKNOWN else life

    @property
    def driver(self) -> str:
        """Id of the driver that was seen last; empty if there is none."""
        return "" if self._sign is None else str(self._sign["id"])


@dataclass
class Lease:
    """The right to run what is at `place`."""

    place: Storage
    """The run folder."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells drivers apart."""
    lost: bool = False
    """Whether another driver has taken over."""
    _beat: int = 0

    def renew(self) -> None:
        """Give a sign of life, unless another driver has taken over, which may have ended since.

        Raises:
            StoreError: If the folder cannot be read or written to.
        """
        sign = holder(self.place)
        if sign is None or sign["id"] != self.id:
            self.lost = True
            return
        self._write()

    def take(self, settling: float, say: Callable[[str], None] = lambda _: None) -> None:
        """Become the driver.

        A driver on another machine that gives no sign of life is watched for `STALE` seconds. Two
        that try at once read after a while whose word stands.

        Args:
            settling: Seconds until what was written is read again.
            say: Hears why this takes long.

        Raises:
            StoreError: Where there is a driver, or the folder cannot be read or written to.
        """
        observer = Observer(self.place)
        if (life := observer.look()) is Life.UNKNOWN:
            say(
                f"{self.place} was run from another machine: it is watched for up to {STALE:.0f} s "
                "for a sign of life"
            )
        while life is Life.UNKNOWN:
            time.sleep(LOOKING)
            life = observer.look()
        if life is Life.ALIVE:
            raise self._taken()
        self._write()
        time.sleep(settling)
        sign = holder(self.place)
        if sign is None or sign["id"] != self.id:
            raise StoreError(
                f"{self.place} is being run by another process that began at the same moment",
                "Wait until it ends.",
            )

    def release(self) -> None:
        """Let the next one in at once."""
        sign = holder(self.place)
        if sign is not None and sign["id"] == self.id:
            self.place.remove(FILE)

    def _taken(self) -> StoreError:
        sign = holder(self.place) or {"pid": "unknown", "host": "another machine"}
        return StoreError(
            f"{self.place} is being run by process {sign['pid']} on {sign['host']}",
            "Wait until it ends or stop it. Should that machine be gone, its run can be "
            f"taken over after {STALE:.0f} s.",
        )

    def _write(self) -> None:
        self._beat += 1
        sign = {
            "id": self.id,
            "host": socket.gethostname(),
            "machine": machine(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "beat": self._beat,
            "seen": time.time(),
        }
        self.place.write(FILE, json.dumps(sign, indent=2).encode() + b"\n")


@contextmanager
def driving(place: Storage, say: Callable[[str], None] = lambda _: None) -> Iterator[Lease]:
    """Be the driver of the run folder at `place` meanwhile; `say` hears why it takes long.

    Raises StoreError where there is a driver, or the folder cannot be written to.
    """
    lease = Lease(place)
    lease.take(0.05 if isinstance(place, LocalStorage) else 2.0, say)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, ended), daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        ended.set()
        keeper.join()
        # A folder that can no longer be written to goes stale by itself.
        with suppress(StoreError):
            lease.release()


def check_driver(place: Storage, lease_id: str) -> None:
    """StoreError unless the driver `lease_id` still runs the folder at `place`."""
    sign = holder(place)
    if sign is None or sign["id"] != lease_id:
        raise StoreError(
            f"{place} is no longer run by the driver of this worker", "Leave it to the new one."
        )


def _keep(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(RENEWED) and not lease.lost:
        # What cannot be written now may be written at the next try; nothing may end this thread.
        with suppress(Exception):
            lease.renew()


@cache
def machine() -> str:
    """Names this boot of this machine and its space of process numbers.

    Two processes with the same answer see each other by their numbers; containers, machines of the
    same name and a machine that was started again have other ones.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: the network card's address
        return f"{uuid.getnode():012x}"


def _process_lives(sign: dict[str, Any]) -> bool | None:
    """Whether the process that wrote `sign` lives; None where only watching can tell."""
    if sign.get("machine") != machine():
        return None
    try:
        if not psutil.pid_exists(sign["pid"]):
            return False
        if psutil.Process(sign["pid"]).status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(abs(_born(sign["pid"]) - sign["born"]) < SAME)
    except psutil.Error:
        # It is hidden from this user, or it has ended just now.
        return None


def _born(pid: int) -> float:
    """Seconds from the machine's start to the process's: no change of the clock moves it."""
    boot = psutil.boot_time()
    return float(psutil.Process(pid).create_time() - boot)
