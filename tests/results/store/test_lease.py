"""One driver at a time, and a dead one's folder can be taken over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from steereval.common.errors import StoreError
from steereval.results.store import lease as module
from steereval.results.store.lease import FILE, Lease, Life, Observer, check_driver, driving, holder
from steereval.results.store.storage import LocalStorage, Storage, storage_of

HOLDING = """
import sys, time
from pathlib import Path
from steereval.results.store.lease import driving
from steereval.results.store.storage import LocalStorage as LocalPlace
with driving(LocalPlace(Path(sys.argv[1]))):
    print("driving", flush=True)
    time.sleep(600)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "driving\n"
    return process


@pytest.mark.slow
def test_two_drivers_refuse_each_other_and_a_dead_one_is_followed(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    process = start(tmp_path)
    message = f"is being run by process {process.pid} on {socket.gethostname()}"
    with pytest.raises(StoreError, match=message), driving(place):
        pytest.fail("two drivers")
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with driving(place):
        sign = holder(place)
        assert sign is not None
        assert sign["pid"] == os.getpid()
    assert not (tmp_path / FILE).exists()


def test_another_process_with_the_same_number_is_not_the_driver(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    with driving(place):
        sign = holder(place)
    assert sign is not None
    place.write(FILE, json.dumps(sign | {"born": sign["born"] - 1000, "id": "old"}).encode())
    with driving(place):
        pass


class Clock:
    """Time that passes when someone sleeps; `tick` happens at each second."""

    def __init__(self, tick: Callable[[float], object] = lambda now: None) -> None:
        self.now = 0.0
        self._tick = tick

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.8e9 + self.now

    def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1.0
            self._tick(self.now)


def elsewhere(place: Storage, ahead: float = 0.0, **changes: object) -> dict[str, object]:
    """A driver on another machine, whose clock is `ahead` of this one's."""
    sign = {"id": "x", "host": "elsewhere", "pid": 1, "born": 0.0, "seen": 1.8e9 + ahead}
    sign |= {"machine": "another", "beat": 1} | changes
    place.write(FILE, json.dumps(sign).encode())
    return sign


def clock_of(
    patch: pytest.MonkeyPatch, tick: Callable[[float], object] = lambda now: None
) -> Clock:
    clock = Clock(tick)
    patch.setattr(module, "time", clock)
    return clock


SKEWS = [0.0, 1.0, 86400.0, -86400.0]
"""Seconds by which another host's clock is ahead of this one's."""


@pytest.fixture(params=["local", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_of(tmp_path if request.param == "local" else f"memory://{uuid4().hex}")


@pytest.mark.parametrize("ahead", SKEWS)
def test_a_dead_driver_elsewhere_is_followed_for_any_clock(
    place: Storage, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(monkeypatch)
    elsewhere(place, ahead)
    said: list[str] = []
    Lease(place).take(0, said.append)
    assert module.STALE <= clock.now <= module.STALE + 2 * module.LOOKING
    assert len(said) == 1


@pytest.mark.parametrize("ahead", SKEWS)
@pytest.mark.parametrize("every", [module.RENEWED, 55.0])
def test_a_living_driver_elsewhere_is_left_alone_for_any_clock(
    place: Storage, ahead: float, every: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that could not write for a while."""

    def renewed(now: float) -> None:
        if now % every == 0:
            elsewhere(place, ahead + now, beat=now)

    clock = clock_of(monkeypatch, renewed)
    elsewhere(place, ahead)
    with pytest.raises(StoreError, match="by process 1 on elsewhere"):
        Lease(place).take(0)
    assert clock.now <= every + module.LOOKING


def test_a_driver_whose_clock_stands_still_is_seen_by_its_beat(
    place: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_of(monkeypatch, lambda now: elsewhere(place, beat=now))
    elsewhere(place)
    with pytest.raises(StoreError, match="on elsewhere"):
        Lease(place).take(0)


def test_a_machine_of_the_same_name_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers and cloned machines share names; their process numbers mean nothing here."""
    place = LocalStorage(tmp_path)
    host = socket.gethostname()
    clock_of(monkeypatch, lambda now: elsewhere(place, host=host, beat=now))
    elsewhere(place, host=host, pid=2**22 + 1)
    with pytest.raises(StoreError, match="is being run"):
        Lease(place).take(0)


def test_a_file_of_an_older_version_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(monkeypatch)
    place = LocalStorage(tmp_path)
    sign = elsewhere(place)
    older = {name: sign[name] for name in ("id", "host", "pid", "born", "seen")}
    place.write(FILE, json.dumps(older).encode())
    Lease(place).take(0)
    assert clock.now >= module.STALE


@pytest.mark.slow
def test_a_killed_driver_that_was_not_waited_for_is_dead(tmp_path: Path) -> None:
    """In a container nobody may ever do."""
    process = start(tmp_path)
    assert Observer(LocalStorage(tmp_path)).look() is Life.ALIVE
    os.kill(process.pid, signal.SIGKILL)
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert Observer(LocalStorage(tmp_path)).look() is Life.DEAD
    process.wait()
    assert Observer(LocalStorage(tmp_path)).look() is Life.DEAD


def test_an_observer_sees_a_driver_die(place: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_of(monkeypatch)
    observer = Observer(place)
    assert observer.look() is Life.NONE
    elsewhere(place, 86400.0)
    assert observer.look() is Life.UNKNOWN
    clock.sleep(5)
    elsewhere(place, 86400.0, beat=2)
    assert (observer.look(), observer.driver) == (Life.ALIVE, "x")
    clock.sleep(module.STALE - 1)
    assert observer.look() is Life.ALIVE
    clock.sleep(1)
    assert observer.look() is Life.DEAD
    elsewhere(place, 86400.0, beat=3)
    assert observer.look() is Life.ALIVE
    place.remove(FILE)
    assert (observer.look(), observer.driver) == (Life.NONE, "")


@pytest.mark.parametrize(
    ("ahead", "is_renewed", "life", "seconds"),
    [
        (0.0, False, Life.ALIVE, 0),
        (-module.STALE - 1, False, Life.DEAD, module.GLANCE),
        (86400.0, False, Life.DEAD, module.GLANCE),
        (86400.0, True, Life.ALIVE, module.RENEWED),
        (-86400.0, True, Life.ALIVE, module.RENEWED),
    ],
)
def test_a_glance(
    place: Storage, monkeypatch: pytest.MonkeyPatch,
    ahead: float, is_renewed: bool, life: Life, seconds: float,
) -> None:  # fmt: skip
    def renewed(now: float) -> None:
        if is_renewed and now % module.RENEWED == 0:
            elsewhere(place, ahead + now, beat=now)

    clock = clock_of(monkeypatch, renewed)
    elsewhere(place, ahead)
    assert Observer(place).glance() is life
    assert clock.now == seconds


def test_a_driver_whose_file_is_gone_has_lost_the_folder(tmp_path: Path) -> None:
    """Another one took over and has ended; its manifest stands."""
    lease = Lease(LocalStorage(tmp_path))
    lease.take(0)
    lease.place.remove(FILE)
    lease.renew()
    assert lease.lost
    assert holder(lease.place) is None


def test_a_failed_sign_of_life_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.01)
    tried = threading.Event()
    renew, trouble = Lease.renew, iter([OSError("gone"), RuntimeError("odd")])

    def failing(self: Lease) -> None:
        for error in trouble:
            raise error
        renew(self)
        tried.set()

    monkeypatch.setattr(Lease, "renew", failing)
    with driving(LocalStorage(tmp_path)):
        assert tried.wait(10)


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.05)
    with driving(LocalStorage(tmp_path)) as one:
        first = holder(one.place)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            now = holder(one.place)
            assert first is not None
            assert now is not None
            if now["seen"] > first["seen"]:
                return
        pytest.fail("no sign of life")


def test_who_was_taken_for_dead_keeps_its_hands_off(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    one, other = Lease(place), Lease(place)
    one.take(0)
    sign = holder(place)
    assert sign is not None
    place.write(FILE, json.dumps(sign | {"born": 0.0}).encode())
    other.take(0)
    one.renew()
    assert one.lost
    one.release()
    check_driver(place, other.id)
    with pytest.raises(StoreError, match="no longer run by the driver of this worker"):
        check_driver(place, one.id)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_file_is_not_a_sign_of_life(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with driving(LocalStorage(tmp_path)):
        pass


def test_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = storage_of(f"memory://{tmp_path.name}")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with driving(place), pytest.raises(StoreError, match="is being run by"), driving(place):
        pass
    assert place.read(FILE) is None
