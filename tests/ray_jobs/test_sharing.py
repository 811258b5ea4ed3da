"""What one worker makes for all: alone, beside a stand-in for Ray, and on two real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from hearing import Hearing

from steereval.ray_jobs.ray_executor import RayExecutor
from steereval.ray_jobs.sharing import once, share_through
from steereval.ray_jobs.work import Work


class Shelf:
    """Holds what was offered."""

    def __init__(self) -> None:
        self.held: dict[str, Mapping[str, bytes]] = {}
        self.given_up = 0

    def claim(self, key: str) -> Mapping[str, bytes] | None:
        return self.held.get(key)

    def offer(self, key: str, packed: Mapping[str, bytes]) -> None:
        self.held[key] = packed

    def give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    result = Shelf()
    share_through(result)
    yield result
    share_through(None)


def number(key: str, make: Callable[[], int]) -> int:
    return once(key, make, lambda made: {"n": bytes([made])}, lambda packed: packed["n"][0])


def fail() -> int:
    raise ZeroDivisionError


def test_alone_everything_is_made() -> None:
    assert [number("a", lambda: 1), number("a", lambda: 2)] == [1, 2]


def test_the_second_has_what_the_first_made(shelf: Shelf) -> None:
    assert [number("a", lambda: 1), number("a", fail), number("b", lambda: 3)] == [1, 1, 3]
    assert shelf.held == {"a": {"n": b"\1"}, "b": {"n": b"\3"}}
    assert shelf.given_up == 0


def test_who_fails_leaves_it_to_another(shelf: Shelf) -> None:
    with pytest.raises(ZeroDivisionError):
        number("a", fail)
    assert shelf.given_up == 1
    assert number("a", lambda: 2) == 2


# Under Ray


@pytest.fixture(scope="module")
def nodes() -> Iterator[None]:
    """Two nodes of one core, which this process has joined."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def played(log: Path, misfortune: str) -> Hearing:
    """Two workers that meet and then need the same; the first that makes it may have bad luck."""
    path = str(log)

    class Toy:
        def run(self, units: tuple[str, ...], last: bool) -> Any:
            import os
            import signal
            import time

            from steereval.common.errors import FitError
            from steereval.ray_jobs.sharing import once
            from steereval.ray_jobs.work import Done

            def note(word: str) -> int:
                with open(path, "a") as file:  # noqa: PTH123
                    file.write(f"{word}\n")
                with open(path) as file:  # noqa: PTH123
                    return file.read().split().count(word)

            def make() -> str:
                first = note("made") == 1
                # The other asks meanwhile.
                time.sleep(1)
                if first and misfortune == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                if first and misfortune == "fails":
                    raise FitError("it failed")
                return "x" * 1_000_000

            note(f"came-{units[0]}")
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with open(path) as file:  # noqa: PTH123
                    if {"came-0", "came-1"} <= set(file.read().split()):
                        break
                time.sleep(0.02)
            value = once("key", make, lambda m: {"m": m.encode()}, lambda p: p["m"].decode())
            return Done((os.getpid(), len(value)))

    works = [Work(f"w{n}", (str(n),), 1.0, f"a{n}", load=9.0) for n in range(2)]
    hearing = Hearing()
    with RayExecutor(2) as executor:
        executor.run(works, Toy, hearing)
    return hearing


@pytest.mark.chaos
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("misfortune", "made", "errors"), [("none", 1, 0), ("dies", 2, 0), ("fails", 2, 1)]
)
def test_two_nodes_make_it_once(tmp_path: Path, misfortune: str, made: int, errors: int) -> None:
    """And once more where the maker dies or fails; nobody waits for it."""
    heard = played(tmp_path / "log", misfortune)
    assert (tmp_path / "log").read_text().split().count("made") == made
    outcomes = [outcome for outcome in heard.outcomes if outcome.units]
    assert len(outcomes) == 2
    assert sum(outcome.error is not None for outcome in outcomes) == errors
    results = [outcome.result for outcome in outcomes if outcome.error is None]
    assert {length for _, length in results} == {1_000_000}
    assert len({pid for pid, _ in results}) == len(results)


@pytest.mark.chaos
@pytest.mark.usefixtures("nodes")
def test_without_the_actor_everyone_makes_their_own() -> None:
    from steereval.ray_jobs.exchange import Exchange

    exchange = Exchange.opened().of(1)
    assert exchange.claim("a") is None
    exchange.offer("a", {"n": b"1"})
    assert exchange.of(2).claim("a") == {"n": b"1"}
    exchange.close()
    assert exchange.of(2).claim("a") is None


@pytest.mark.chaos
@pytest.mark.usefixtures("nodes")
def test_a_maker_that_has_fallen_silent_is_not_waited_for() -> None:
    """Its node is gone, and Ray has not noticed yet; one that still works is."""
    from steereval.ray_jobs.exchange import Exchange

    exchange = Exchange.opened(silence=5.0)
    assert ray.get(exchange.actor.claim.remote("a", 1)) is None  # and not a sound more
    second = exchange.of(2)
    assert second.claim("a") is None
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(exchange.of(3).claim, "a")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=8.0)
        second.offer("a", {"n": b"1"})
        assert waiting.result(timeout=60.0) == {"n": b"1"}
    exchange.close()
