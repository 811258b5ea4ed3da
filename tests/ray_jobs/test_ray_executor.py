"""Two workers in processes of their own, under a real local Ray."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from hearing import Hearing

from steereval.common.errors import CellError, InputError, ModelError, StoreError
from steereval.ray_jobs.actor import LAUNCHER_VARIABLES
from steereval.ray_jobs.ray_executor import RayExecutor
from steereval.ray_jobs.rules import Rules
from steereval.ray_jobs.work import Outcome, Work

pytestmark = pytest.mark.slow

Factory = Callable[[], Any]


def start_ray() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)


@pytest.fixture(scope="module", autouse=True)
def _no_ray_afterwards() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture
def running() -> None:
    """A Ray that runs before the executor is called."""
    if not ray.is_initialized():
        start_ray()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def factory(log: Path) -> Factory:
    """Makes workers that write who they are, and do what the payload names.

    Defined here, so that Ray sends the class along instead of importing this file.
    """
    path, watched = str(log), (*LAUNCHER_VARIABLES, "OMP_NUM_THREADS")

    def names() -> list[str]:
        with open(path) as file:  # noqa: PTH123
            return [json.loads(line)["name"] for line in file]

    class Toy:
        def run(self, units: tuple[dict[str, Any], ...], last: bool) -> Any:
            from steereval.common import errors
            from steereval.common.activity import add_tokens, doing
            from steereval.ray_jobs.work import Done

            (payload,) = units
            name = payload["name"]
            environment = {key: os.environ[key] for key in watched if key in os.environ}
            entry = {"pid": os.getpid(), "name": name, "environment": environment}
            with open(path, "a") as file:  # noqa: PTH123
                file.write(json.dumps(entry) + "\n")
            while payload.get("after", name) not in names():
                time.sleep(0.02)
            add_tokens(payload.get("tokens", 0))
            with doing(payload.get("phase", "working")):
                time.sleep(payload.get("sleep", 0))
            times = names().count(name)
            if times <= payload.get("deaths", 0):
                os._exit(1)
            if "error" in payload:
                raise getattr(errors, payload["error"])("it failed", "Do better.")
            if "fault" in payload:
                raise ZeroDivisionError("division by zero")
            return Done(name, (0,) if payload.get("again") and not last else ())

    return Toy


def work(
    name: str, cost: float = 1.0, affinity: str = "a", limit: float | None = None, **payload: Any
) -> Work:
    return Work(name, ({"name": name, **payload},), cost, affinity, load=9.0, limit=limit)


def run(works: list[Work], factory: Factory, retries: int = 2) -> dict[str, Outcome]:
    hearing = Hearing()
    with RayExecutor(2, rules=Rules(retries=retries)) as executor:
        executor.run(works, factory, hearing)
    outcomes = [outcome for outcome in hearing.outcomes if outcome.units]
    result = {outcome.units[0]["name"]: outcome for outcome in outcomes}
    assert len(result) == len(outcomes), "an outcome was told twice"
    return result


def test_the_activity_of_workers_is_reported_while_they_work(
    running: None, factory: Factory
) -> None:
    hearing = Hearing()
    works = [
        work(f"w{n}", affinity=f"{n}", sleep=4.0, phase="answering", tokens=7 + n) for n in range(2)
    ]
    with RayExecutor(2) as executor:
        executor.run(works, factory, hearing)
    told = [each for each in hearing.activities if each.phase == "answering"]
    assert {each.tokens for each in told} == {7, 8}


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.chaos
def test_ray_is_started_and_stopped(
    factory: Factory, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And workers do not see what launchers left: they would wait for ranks that are not there."""
    if ray.is_initialized():
        ray.shutdown()
    for name in LAUNCHER_VARIABLES:
        monkeypatch.setenv(name, "7")
    works = [work(f"{affinity}{n}", affinity=affinity) for affinity in "ab" for n in range(4)]
    outcomes = run(works, factory)
    assert not ray.is_initialized()
    assert outcomes.keys() == {each.id for each in works}
    assert all(each.error is None and each.seconds > 0 for each in outcomes.values())
    assert sorted(entry["name"] for entry in entries(log)) == sorted(each.id for each in works)
    for entry in entries(log):
        assert not set(LAUNCHER_VARIABLES) & set(entry["environment"])


def test_ray_starts_during_other_work_and_serves_twice(
    factory: Factory, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    starts, start = [], ray.init

    def counted(**options: Any) -> Any:
        starts.append(options)
        return start(**options)

    monkeypatch.setattr(ray, "init", counted)
    hearing = Hearing()
    with RayExecutor(2) as executor:
        executor.begin()
        assert not ray.is_initialized()
        executor.run([work("first")], factory, hearing)
        executor.run([work("second")], factory, hearing)
    assert len(starts) == 1
    assert [unit["name"] for unit in hearing.units] == ["first", "second"]
    assert [entry["name"] for entry in entries(log)] == ["first", "second"]
    assert not ray.is_initialized()


def test_what_fails_before_ray_is_there_leaves_none() -> None:
    ray.shutdown()
    with suppress(InputError), RayExecutor(2) as executor:
        executor.begin()
        raise InputError("a task is misspelt")
    assert not ray.is_initialized()
    started = [child.name() for child in psutil.Process().children() if child.is_running()]
    assert not {"gcs_server", "raylet"} & set(started)


@pytest.mark.usefixtures("running")
def test_errors_are_reported_and_the_rest_continues(factory: Factory, log: Path) -> None:
    """Also: two processes, none of them this one, each with its share of the cores."""
    works = [
        work("good", sleep=0.3),
        work("bad", error="FitError"),
        work("fault", fault=True),
        *(work(f"more{n}", affinity="b", sleep=0.05) for n in range(4)),
    ]
    outcomes = run(works, factory)
    assert ray.is_initialized(), "a Ray that was running is left running"
    assert outcomes.keys() == {each.id for each in works}
    errors = {name: each.error for name, each in outcomes.items() if each.error}
    assert errors.keys() == {"bad", "fault"}
    assert type(errors["bad"]).__name__ == "FitError"
    assert str(errors["bad"]) == "it failed. Do better."
    assert isinstance(errors["fault"], CellError)
    assert "ZeroDivisionError: division by zero" in str(errors["fault"])
    seen = entries(log)
    processes = {entry["pid"] for entry in seen}
    assert os.getpid() not in processes
    assert len(processes) == 2
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    assert {entry["environment"]["OMP_NUM_THREADS"] for entry in seen} == {threads}


@pytest.mark.usefixtures("running")
def test_a_worker_that_dies_is_replaced(factory: Factory, log: Path) -> None:
    """Its work is tried again, elsewhere, up to the limit; nothing else is lost."""
    works = [
        work("twice", cost=9, deaths=2),
        work("always", cost=8, deaths=99, affinity="b"),
        *(work(f"more{n}") for n in range(4)),
    ]
    outcomes = run(works, factory)
    assert outcomes.keys() == {each.id for each in works}
    errors = {name: each.error for name, each in outcomes.items() if each.error}
    assert errors.keys() == {"always"}
    assert isinstance(errors["always"], CellError)
    assert "its worker was lost 3 times" in str(errors["always"])
    names = [entry["name"] for entry in entries(log)]
    assert names.count("twice") == 3
    assert names.count("always") == 3
    assert all(names.count(f"more{n}") == 1 for n in range(4))
    victims = [entry["pid"] for entry in entries(log) if entry["name"] in ("twice", "always")]
    assert len(set(victims)) >= 5


@pytest.mark.chaos
@pytest.mark.usefixtures("running")
def test_without_retries_the_first_death_is_reported(factory: Factory, log: Path) -> None:
    outcomes = run([work("dies", deaths=1)], factory, retries=0)
    assert "its worker was lost 1 times" in str(outcomes["dies"].error)
    assert len(entries(log)) == 1


@pytest.mark.usefixtures("running")
def test_a_store_error_ends_the_run(factory: Factory, log: Path) -> None:
    """At once: what is under way elsewhere is not waited for, nor is more begun."""
    works = [
        work("long", cost=9, sleep=60, affinity="b"),
        work("full", cost=8, error="StoreError", after="long"),
        *(work(f"more{n}") for n in range(3)),
    ]
    start = time.perf_counter()
    with pytest.raises(StoreError, match="it failed"):
        run(works, factory)
    assert time.perf_counter() - start < 30
    assert ray.is_initialized()
    began = {entry["name"]: entry["pid"] for entry in entries(log)}
    assert began.keys() == {"long", "full"}
    assert_ends(began["long"])


def assert_ends(pid: int) -> None:
    """The process is gone within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"worker {pid} was left running")


@pytest.mark.usefixtures("running")
def test_a_worker_that_cannot_be_made() -> None:
    """Each piece tells why; that is no death."""

    def factory() -> Any:
        from steereval.common.errors import ModelError

        raise ModelError("no such model", "Fetch it.")

    outcomes = run([work("one"), work("two")], factory)
    for name in ("one", "two"):
        assert isinstance(outcomes[name].error, ModelError)
        assert str(outcomes[name].error) == "no such model. Fetch it."


@pytest.mark.chaos
@pytest.mark.usefixtures("running")
def test_a_hung_worker_is_ended(factory: Factory, log: Path) -> None:
    """Its work is tried again, and the rest goes on meanwhile."""
    works = [work("hangs", cost=9, limit=4.0, sleep=600), work("other", affinity="b")]
    outcomes = run(works, factory, retries=1)
    assert outcomes["other"].error is None
    assert "it took longer than 4 s, its limit" in str(outcomes["hangs"].error)
    for entry in entries(log):
        if entry["name"] == "hangs":
            assert_ends(entry["pid"])


@pytest.mark.usefixtures("running")
def test_what_a_worker_could_not_do_is_tried_on_another(factory: Factory, log: Path) -> None:
    outcomes = run([work("shaky", again=True)], factory)
    assert outcomes["shaky"].error is None
    assert len({entry["pid"] for entry in entries(log)}) == 2


def test_an_address_where_no_ray_is(factory: Factory) -> None:
    ray.shutdown()
    with RayExecutor(2, address="127.0.0.1:1") as executor:
        executor.begin()
        with pytest.raises(InputError, match=r"no Ray answers at 127\.0\.0\.1:1"):
            executor.run([work("one")], factory, Hearing())


@pytest.mark.usefixtures("running")
def test_nothing_to_do(factory: Factory) -> None:
    assert run([], factory) == {}


@pytest.mark.parametrize(("workers", "cores"), [(None, 2.0), (1, 2.0), (2, 1.0), (3, 1.0)])
def test_cores_are_those_of_the_smallest_worker(
    running: None, workers: int | None, cores: float
) -> None:
    with RayExecutor(workers=workers) as executor:
        assert executor.cores() == cores


def test_workers_of_a_cluster_without_gpus_compute_on_cores(running: None) -> None:
    with RayExecutor(on_gpus=None) as executor:
        assert executor.cores() == 2.0
    with RayExecutor(on_gpus=True) as executor:
        assert executor.cores() is None
