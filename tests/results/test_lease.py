"""One driver at a time, and a dead one's folder can be taken over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steereval.errors import StoreError
from steereval.results import lease as module
from steereval.results.lease import FILE, Lease, check_driver, driving
from steereval.results.place import LocalPlace, place_of

HOLDING = """
import sys, time
from pathlib import Path
from steereval.results.lease import driving
from steereval.results.place import LocalPlace
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


def test_two_drivers_refuse_each_other_and_a_dead_one_is_followed(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    process = start(tmp_path)
    message = f"is being run by process {process.pid} on {socket.gethostname()}"
    with pytest.raises(StoreError, match=message), driving(place):
        pytest.fail("two drivers")
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with driving(place) as taken:
        found = taken.holder()
        assert found is not None
        assert found["pid"] == os.getpid()
    assert not (tmp_path / FILE).exists()


def test_another_process_with_the_same_number_is_not_the_driver(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    with driving(place) as one:
        found = one.holder()
    assert found is not None
    place.write(FILE, json.dumps(found | {"born": found["born"] - 1000, "id": "old"}).encode())
    with driving(place):
        pass


@pytest.mark.parametrize(("seconds", "lives"), [(1.0, True), (module.STALE + 1, False)])
def test_a_driver_elsewhere_is_known_by_its_signs_of_life(
    tmp_path: Path, seconds: float, lives: bool
) -> None:
    place = LocalPlace(tmp_path)
    sign = {"id": "x", "host": "elsewhere", "pid": 1, "born": 0.0, "seen": time.time() - seconds}
    place.write(FILE, json.dumps(sign).encode())
    if lives:
        with pytest.raises(StoreError, match="by process 1 on elsewhere"), driving(place):
            pass
    else:
        with driving(place):
            pass


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED", 0.05)
    with driving(LocalPlace(tmp_path)) as one:
        first = one.holder()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            now = one.holder()
            assert first is not None
            assert now is not None
            if now["seen"] > first["seen"]:
                return
        pytest.fail("no sign of life")


def test_who_was_taken_for_dead_keeps_its_hands_off(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    one, other = Lease(place), Lease(place)
    one.take(0)
    found = one.holder()
    assert found is not None
    place.write(FILE, json.dumps(found | {"born": 0.0}).encode())
    other.take(0)
    one.renew()
    assert one.lost
    one.release()
    check_driver(place, other.id)
    with pytest.raises(StoreError, match="no longer run by the driver of this worker"):
        check_driver(place, one.id)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_file_is_no_sign_of_life(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with driving(LocalPlace(tmp_path)):
        pass


def test_in_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of(f"memory://{tmp_path.name}")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with driving(place), pytest.raises(StoreError, match="is being run by"), driving(place):
        pass
    assert place.read(FILE) is None
