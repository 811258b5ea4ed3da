"""Threads fit the cores that may be used, and wait by futex rather than spinning when crowded."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from steereval.models.inference.cpu_threads import (
    CROWDED_SHARE,
    POLL_S,
    QUIET_POLLS,
    BarrierMonitor,
    SurplusThreads,
    seconds_waited,
)

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp and schedstat")


@dataclass
class Machine:
    """A clock, the statistics of a scheduler, and the surplus threads that are alive."""

    now: float = 0.0
    waited: float = 0.0
    alive: list[str] = field(default_factory=list)

    def after(self, monitor: BarrierMonitor, shares: list[float]) -> list[bool]:
        """Whether the monitor holds threads after each poll, for shares of time waited."""
        held = []
        for share in shares:
            self.now += POLL_S
            self.waited += share * POLL_S
            monitor.poll()
            held.append(monitor.crowded)
        return held

    def surplus(self) -> Machine:
        self.alive.append("team")
        return self

    def end(self) -> None:
        self.alive.remove("team")


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def monitor(machine: Machine) -> BarrierMonitor:
    return BarrierMonitor(lambda: machine.waited, lambda: machine.now, machine.surplus)


def test_threads_of_a_quiet_machine_keep_spinning(
    machine: Machine, monitor: BarrierMonitor
) -> None:
    assert machine.after(monitor, [0.02, 0.05, 0.0, CROWDED_SHARE / 2] * 5) == [False] * 20
    assert machine.alive == []


def test_a_crowded_machine_gets_surplus_threads_once(
    machine: Machine, monitor: BarrierMonitor
) -> None:
    assert machine.after(monitor, [0.9, 0.6, 1.5]) == [True] * 3
    assert machine.alive == ["team"]


def test_surplus_threads_end_when_the_machine_is_quiet_for_a_while(
    machine: Machine, monitor: BarrierMonitor
) -> None:
    quiet = [0.01] * (QUIET_POLLS - 1)
    assert machine.after(monitor, [0.9, *quiet, 0.9, *quiet]) == [True] * (2 * len(quiet) + 2)
    assert machine.after(monitor, [0.01]) == [False]
    assert machine.alive == []
    assert machine.after(monitor, [0.9]) == [True]


def test_statistics_that_shrink_with_an_ended_thread_count_as_none(
    machine: Machine, monitor: BarrierMonitor
) -> None:
    assert machine.after(monitor, [-3.0, 0.05]) == [False, False]


@LINUX
def test_statistics_of_the_scheduler_never_shrink_without_an_ended_thread() -> None:
    before = seconds_waited()
    assert 0 <= before <= seconds_waited()


@LINUX
def test_surplus_threads_come_and_go() -> None:
    def tasks() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = tasks()
    surplus = SurplusThreads()
    surplus.end()
    assert tasks() <= before + 1


PROGRAM = """
import threading, torch
from steereval.models.inference.cpu_threads import fit_threads_to_machine
fit_threads_to_machine(); fit_threads_to_machine()
names = [thread.name for thread in threading.enumerate()]
print(torch.get_num_threads(), names.count("barrier-monitor"))
"""


def threads_and_monitors(**environment: str) -> tuple[int, int]:
    """Threads of a fresh process after the set-up, and monitors that it runs."""
    unset = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    saved = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=saved | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    threads, monitors = done.stdout.split()
    return int(threads), int(monitors)


@LINUX
@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no barriers")
@pytest.mark.parametrize(
    ("environment", "threads", "monitors"),
    [
        # joblib takes a number of cores from the environment as it does from a quota.
        ({"LOKY_MAX_CPU_COUNT": "1"}, 1, 0),
        ({"LOKY_MAX_CPU_COUNT": "2"}, 2, 1),
        ({"LOKY_MAX_CPU_COUNT": "1", "OMP_NUM_THREADS": "2"}, 2, 1),
        ({"OMP_NUM_THREADS": "1"}, 1, 0),
        ({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"}, 2, 0),
        ({"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"}, 2, 0),
    ],
)
def test_a_process_has_threads_for_its_cores_and_one_monitor(
    environment: dict[str, str], threads: int, monitors: int
) -> None:
    assert threads_and_monitors(**environment) == (threads, monitors)
