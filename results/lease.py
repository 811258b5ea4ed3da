"""Who runs a run folder: one driver at a time, and a dead one's folder can be taken over.

The driver keeps a small file in the folder, `driver.json`, and renews it. Another driver that
finds it fresh refuses; one that finds it stale, or its process gone from this machine, takes over.
Workers look at it before they store anything, so that those of a driver that was taken for dead
keep their hands off.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from steereval.errors import StoreError
from steereval.results.place import LocalPlace, Place

FILE = "driver.json"
RENEWED = 10.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without a sign of life after which a driver on another machine counts as dead."""


@dataclass
class Lease:
    """The right to run what is at `place`."""

    place: Place
    """The run folder."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells drivers apart."""
    lost: bool = False
    """Whether another driver has taken over."""

    def holder(self) -> dict[str, Any] | None:
        """What the file says; None if there is no file, or one that is no sign of life."""
        data = self.place.read(FILE)
        with suppress(ValueError):
            found = json.loads(data or b"null")
            if isinstance(found, dict) and {"id", "host", "pid", "born", "seen"} <= found.keys():
                return found
        return None

    def renew(self) -> None:
        """Give a sign of life, unless another driver has taken over. Raises StoreError."""
        found = self.holder()
        if found is not None and found["id"] != self.id:
            self.lost = True
            return
        self._write()

    def take(self, settling: float) -> None:
        """Become the driver; StoreError where there is one. Two that try at once read after
        `settling` seconds whose word stands."""
        found = self.holder()
        if found is not None and _lives(found):
            raise StoreError(
                f"{self.place} is being run by process {found['pid']} on {found['host']}",
                "Wait until it ends or stop it. Should that machine be gone, its run can be "
                f"taken over after {STALE:.0f} s.",
            )
        self._write()
        time.sleep(settling)
        found = self.holder()
        if found is None or found["id"] != self.id:
            raise StoreError(
                f"{self.place} is being run by another process that began at the same moment",
                "Wait until it ends.",
            )

    def release(self) -> None:
        """Let the next one in at once."""
        found = self.holder()
        if found is not None and found["id"] == self.id:
            self.place.remove(FILE)

    def _write(self) -> None:
        sign = {
            "id": self.id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born": psutil.Process().create_time(),
            "seen": time.time(),
        }
        self.place.write(FILE, json.dumps(sign, indent=2).encode() + b"\n")


@contextmanager
def driving(place: Place) -> Iterator[Lease]:
    """Be the driver of the run folder at `place` meanwhile. Raises StoreError."""
    lease = Lease(place)
    lease.take(0.05 if isinstance(place, LocalPlace) else 2.0)
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


def check_driver(place: Place, lease_id: str) -> None:
    """StoreError unless the driver `lease_id` still runs the folder at `place`."""
    found = Lease(place).holder()
    if found is None or found["id"] != lease_id:
        raise StoreError(
            f"{place} is no longer run by the driver of this worker", "Leave it to the new one."
        )


def _keep(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(RENEWED) and not lease.lost:
        # What cannot be written now may be written at the next try.
        with suppress(StoreError):
            lease.renew()


def _lives(found: dict[str, Any]) -> bool:
    if found["host"] != socket.gethostname():
        return bool(time.time() - found["seen"] < STALE)
    try:
        born = psutil.Process(found["pid"]).create_time()
    except psutil.Error:
        return False
    return bool(abs(born - found["born"]) < 1.0)
