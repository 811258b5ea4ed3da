"""`status` and `watch` of runs whose driver died: by signs of life, not by what it wrote last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steereval.common.errors import InputError
from steereval.harness.cli.main import main
from steereval.harness.deploy.job_submission import Submitted, remember
from steereval.results.store import lease
from steereval.results.store.lease import FILE, Life, driving
from steereval.results.store.progress import Progress, end_progress, read_progress, write_progress
from steereval.results.store.storage import LocalStorage

NOW = Progress(
    state="running", planned=8, reused=0, done=2, failed=0, running=("a", "b", "c", "d", "e"),
    waiting=1, tokens=100, elapsed=10.0, remaining=30.0, updated=0.0,
)  # fmt: skip

DRIVER = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_watching import NOW
from steereval.results.store.lease import driving
from steereval.results.store.storage import LocalStorage as LocalPlace
from steereval.results.store.progress import write_progress
place = LocalPlace(Path(sys.argv[1]))
with driving(place) as held:
    write_progress(place, replace(NOW, driver=held.id, state=sys.argv[3]))
    print("driving", flush=True)
    time.sleep(600)
"""


def killed(folder: Path, state: str = "running") -> None:
    """A driver that says how far it is and is killed."""
    command = [sys.executable, "-c", DRIVER, str(folder), str(Path(__file__).parent), state]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "driving\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_killed_run_is_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed(tmp_path)
    assert main(["status", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "interrupted, 5 cells were running" in output
    assert "0 running, 6 waiting" in output
    assert main(["watch", str(tmp_path), "--json"]) == 1
    (last,) = lines(capsys.readouterr().err)
    assert (last["state"], last["running"], last["waiting"]) == ("interrupted", [], 6)
    assert last["interrupted"] == ["a", "b", "c", "d", "e"]


@pytest.mark.slow
def test_a_run_that_was_killed_while_its_judges_read_is_interrupted(tmp_path: Path) -> None:
    killed(tmp_path, "judging")
    assert main(["watch", str(tmp_path)]) == 1


def test_a_living_run_is_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = LocalStorage(tmp_path)
    with driving(place) as held:
        write_progress(place, replace(NOW, driver=held.id))
        assert main(["status", str(tmp_path)]) == 0
        assert "5 running, 1 waiting" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_taken_over_is_not_the_one_that_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until its driver says how far it is."""
    killed(tmp_path)
    with driving(LocalStorage(tmp_path)):
        assert main(["status", str(tmp_path)]) == 0
        assert "0 running, 6 waiting; 10 tokens/s; starting" in capsys.readouterr().out


class Clock:
    """Time that passes when someone sleeps."""

    def __init__(self, then: Any = None) -> None:
        self.now, self._then = 0.0, then

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.8e9 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._then is not None:
            self._then(self.now)


def elsewhere(place: LocalStorage, **changes: Any) -> None:
    sign = {"id": "x", "host": "elsewhere", "pid": 1, "born": 0.0, "seen": 9e9, "machine": "other"}
    place.write(FILE, json.dumps(sign | changes).encode())


@pytest.mark.parametrize("command", ["status", "watch"])
def test_a_dead_driver_elsewhere_whose_clock_was_ahead(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """It used to run for ever."""
    place, clock = LocalStorage(tmp_path), Clock()
    write_progress(place, replace(NOW, driver="x"))
    elsewhere(place)
    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr("steereval.harness.cli.watch.time", clock)
    assert main([command, str(tmp_path)]) == (0 if command == "status" else 1)
    captured = capsys.readouterr()
    assert "interrupted, 5 cells were running" in captured.out + captured.err
    assert clock.now <= lease.STALE + 1


def test_a_living_driver_elsewhere_is_watched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its clock is a day behind; judges read when the cells are answered."""
    place = LocalStorage(tmp_path)

    def goes_on(now: float) -> None:
        elsewhere(place, seen=1.0, beat=now)
        if now == 200:
            write_progress(place, replace(NOW, driver="x", state="judging", done=8, running=()))
        if now == 400:
            end_progress(place, "ended")

    clock = Clock(goes_on)
    write_progress(place, replace(NOW, driver="x"))
    elsewhere(place, seen=1.0)
    for module in ("steereval.results.store.lease.time", "steereval.harness.cli.watch.time"):
        monkeypatch.setattr(module, clock)
    assert main(["watch", str(tmp_path), "--json", "--every", "10"]) == 0
    assert [each["state"] for each in lines(capsys.readouterr().err)] == [
        "running",
        "judging",
        "ended",
    ]
    assert clock.now == 400


@pytest.mark.slow
def test_who_waits_for_a_run_waits_for_an_interrupted_one_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed(tmp_path)
    place = LocalStorage(tmp_path)

    def begins(now: float) -> None:
        if now == 3:
            elsewhere(place, id="y")
            write_progress(place, replace(NOW, driver="y"))
        if now == 5:
            end_progress(place, "ended")

    monkeypatch.setattr("steereval.harness.cli.watch.time", Clock(begins))
    assert main(["watch", str(tmp_path), "--json", "--wait"]) == 0
    assert [each["state"] for each in lines(capsys.readouterr().err)] == ["running", "ended"]


@pytest.mark.parametrize("state", ["ended", "stopped"])
@pytest.mark.parametrize("life", Life)
def test_what_has_ended_has_ended(state: str, life: Life) -> None:
    over = replace(NOW, state=state)
    assert over.seen(life, "") is over
    assert over.is_over


@pytest.mark.parametrize(
    ("life", "driver", "state"),
    [
        (Life.ALIVE, "x", "running"),
        (Life.UNKNOWN, "x", "running"),
        (Life.ALIVE, "y", "starting"),
        (Life.UNKNOWN, "y", "starting"),
        (Life.DEAD, "x", "interrupted"),
        (Life.NONE, "", "interrupted"),
    ],
)
def test_progress_is_seen_by_the_life_of_its_driver(life: Life, driver: str, state: str) -> None:
    assert replace(NOW, driver="x").seen(life, driver).state == state


def test_progress_of_an_older_version_is_read(tmp_path: Path) -> None:
    place = LocalStorage(tmp_path)
    values = {k: v for k, v in NOW.plain().items() if k not in ("driver", "interrupted")}
    place.write("progress.json", json.dumps(values).encode())
    assert read_progress(place) == NOW
    assert NOW.seen(Life.ALIVE, "x") is NOW


@pytest.mark.slow
def test_a_run_is_known_where_its_ray_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(address: str, job: str) -> tuple[str, str]:
        raise InputError(f"no Ray takes jobs at {address}", "Give the address of a dashboard.")

    monkeypatch.setenv("STEEREVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("steereval.ray_jobs.jobs.status", gone)
    (tmp_path / "run").mkdir()
    killed(tmp_path / "run")
    remember(Submitted("job-1", "http://nowhere:8265", str(tmp_path / "run")))
    assert main(["status", "job-1"]) == 0
    output = capsys.readouterr().out
    assert "job-1: unknown. no Ray takes jobs at http://nowhere:8265" in output
    assert "interrupted, 5 cells were running" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify"], ["still running: 2 of 8 cells", "steereval watch"]),
        (["archive", "--out", "a.zip"], ["still running: 2 of 8 cells", "steereval watch"]),
        (["cancel"], [f"process {os.getpid()}", "Interrupt"]),
    ],
)
def test_commands_for_ended_runs_refuse_a_running_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    place = LocalStorage(tmp_path)
    with driving(place) as held:
        write_progress(place, replace(NOW, driver=held.id))
        assert main([arguments[0], str(tmp_path), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words)


def test_an_ended_run_has_nothing_to_cancel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_progress(LocalStorage(tmp_path), replace(NOW, state="ended", running=()))
    assert main(["cancel", str(tmp_path)]) == 2
    assert "ended already" in capsys.readouterr().err
