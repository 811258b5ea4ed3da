"""Threads of a CPU that other programs use too: their number, and how they wait for each other.

A parallel region of OpenMP ends with a barrier at which threads spin. Where another program holds
the core of one thread, the others spin through its time slice. GNU's library (libgomp, which
PyTorch brings) spins 300 times less once a process has more threads than cores: its throttled spin
count. `BarrierMonitor` starts such surplus threads while the machine is crowded and ends them
afterwards; they sleep, and no result depends on them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import joblib
import torch

POLL_S = 0.5
"""Time between two looks at the scheduler's statistics, in seconds."""
CROWDED_SHARE = 0.1
"""Time that runnable threads wait for a core, over wall time, from which a machine is crowded: 0.02
on an idle machine, 0.6 to 1.0 with one busy process on each core."""
QUIET_POLLS = 4
"""Polls below that share in a row after which the machine is quiet again."""
_PARALLEL_ELEMENTS = 1 << 20
"""Elements of a tensor for which PyTorch uses all threads."""

_monitor_lock = threading.Lock()
_monitors: list[threading.Thread] = []


class Surplus(Protocol):
    """Threads in surplus of the cores."""

    def end(self) -> None:
        """End them."""


class SurplusThreads:
    """A second team of OpenMP threads, which sleeps until it ends."""

    def __init__(self) -> None:
        """Start the team."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="surplus-threads", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the team; libgomp stops to count its threads."""
        self._end.set()
        self._thread.join()

    def _hold(self) -> None:
        # A team belongs to the thread that ran the first parallel region, and ends with it.
        torch.ones(_PARALLEL_ELEMENTS).add_(1.0)
        self._end.wait()


class BarrierMonitor:
    """Holds surplus threads while runnable threads of this process wait for a core."""

    def __init__(
        self,
        waited_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        surplus: Callable[[], Surplus] = SurplusThreads,
    ) -> None:
        """`waited_s` gives the seconds that all threads have waited for a core so far."""
        self._waited_s, self._clock, self._new_surplus = waited_s, clock, surplus
        self._last = (clock(), waited_s())
        self._surplus: Surplus | None = None
        self._quiet_polls = 0

    @property
    def crowded(self) -> bool:
        """Whether surplus threads are held."""
        return self._surplus is not None

    def poll(self) -> None:
        """Compare the waiting since the last poll with the time that passed."""
        now, waited = self._clock(), self._waited_s()
        (then, before), self._last = self._last, (now, waited)
        # Threads that end take their waiting with them.
        share = max(0.0, waited - before) / max(now - then, 1e-9)
        if share >= CROWDED_SHARE:
            self._quiet_polls = 0
            self._surplus = self._surplus or self._new_surplus()
            return
        self._quiet_polls += 1
        if self._surplus is not None and self._quiet_polls >= QUIET_POLLS:
            self._surplus.end()
            self._surplus = None

    def run(self) -> None:
        """Poll until the process ends."""
        while True:
            time.sleep(POLL_S)
            self.poll()


def seconds_waited() -> float:
    """Seconds that runnable threads of this process have waited for a core (Linux, schedstat)."""
    waited = 0
    for statistics in Path("/proc/self/task").glob("*/schedstat"):
        # A thread may end meanwhile.
        with suppress(OSError):
            waited += int(statistics.read_text().split()[1])
    return waited / 1e9


def fit_threads_to_machine() -> None:
    """Use as many threads as cores may be used, and let them wait as the load allows.

    `OMP_NUM_THREADS` sets the number instead; `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT` sets the
    waiting instead. Does nothing where the system or OpenMP's library is another one.
    """
    # The affinity mask and the quota of the control group; PyTorch reads the mask alone.
    cores = int(joblib.cpu_count())
    if "OMP_NUM_THREADS" not in os.environ and cores < torch.get_num_threads():
        torch.set_num_threads(cores)
    if _waiting_can_be_chosen():
        with _monitor_lock:
            if not _monitors:
                monitor = BarrierMonitor(seconds_waited)
                thread = threading.Thread(target=monitor.run, name="barrier-monitor", daemon=True)
                thread.start()
                _monitors.append(thread)


def _waiting_can_be_chosen() -> bool:
    """Whether threads wait for each other, in libgomp, in a way that the user has not set."""
    if not sys.platform.startswith("linux") or torch.get_num_threads() == 1:
        return False
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        return False
    has_statistics = Path("/proc/self/schedstat").exists()
    return has_statistics and "libgomp" in Path("/proc/self/maps").read_text()
