"""One worker in this process."""

from __future__ import annotations

from typing import Any

import pytest
from hearing import Hearing

from steereval.common.errors import CellError, ModelError, SteerEvalError, StoreError
from steereval.ray_jobs.serial import SerialExecutor
from steereval.ray_jobs.work import Done, Work


class Recorder:
    """Raises a unit if it is an error, and remembers the rest."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.seen: list[Any] = []

    def run(self, units: tuple[Any, ...], last: bool) -> Done:
        self.seen.append(units)
        for unit in units:
            if isinstance(unit, Exception):
                raise unit
        again = () if last else tuple(n for n, unit in enumerate(units) if unit == "shaky")
        return Done((self, last), again)


def run(units: list[Any]) -> Hearing:
    hearing = Hearing()
    works = [Work(str(n), (unit,), -n, "a") for n, unit in enumerate(units)]
    SerialExecutor().run(works, Recorder, hearing)
    return hearing


def test_all_outcomes_in_the_given_order() -> None:
    hearing = run(["x", "y", "z"])
    assert hearing.units == ["x", "y", "z"]
    assert hearing.begun == ["x", "y", "z"]
    assert all(outcome.error is None and outcome.seconds >= 0 for outcome in hearing.outcomes)


def test_one_worker_of_any_size_does_all() -> None:
    before = Recorder.made
    works = [Work(str(n), (n,), 1, "ab"[n % 2], size=4.0) for n in range(4)]
    SerialExecutor().run(works, Recorder, Hearing())
    assert Recorder.made == before + 1


def test_the_given_order_counts_for_works_of_several_affinities() -> None:
    hearing = Hearing()
    works = [Work(str(n), (n,), cost, "aab"[n % 3]) for n, cost in enumerate([3, 1, 2, 9, 5, 1])]
    SerialExecutor().run(works, Recorder, hearing)
    assert hearing.begun == [0, 1, 2, 3, 4, 5]


def test_an_error_of_one_is_reported_and_the_rest_continues() -> None:
    failure = CellError("it failed", "Do better.")
    assert [outcome.error for outcome in run([1, failure, 3]).outcomes] == [None, failure, None]


def test_what_a_worker_could_not_do_goes_to_a_new_one_once() -> None:
    hearing = Hearing()
    before = Recorder.made
    SerialExecutor().run([Work("w", ("x", "shaky", "y"), 3, "a")], Recorder, hearing)
    assert [outcome.units for outcome in hearing.outcomes] == [("x", "y"), ("shaky",)]
    (first, last), (second, last_of_all) = (outcome.result for outcome in hearing.outcomes)
    assert first is not second
    assert (last, last_of_all) == (False, True)
    assert Recorder.made == before + 2


def test_a_store_error_ends_the_run() -> None:
    hearing = Hearing()
    works = [
        Work("a", (1,), 3, ""),
        Work("b", (StoreError("disk full"),), 2, ""),
        Work("c", (3,), 1, ""),
    ]
    with pytest.raises(StoreError, match="disk full"):
        SerialExecutor().run(works, Recorder, hearing)
    assert hearing.units == [1]


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run([1, ZeroDivisionError("oops")])


def test_a_worker_that_cannot_be_made() -> None:
    """Each piece tells why, as with workers in other processes."""

    def factory() -> Recorder:
        raise ModelError("no such model")

    hearing = Hearing()
    SerialExecutor().run([Work(name, (0,), 1, "") for name in "ab"], factory, hearing)
    assert [str(outcome.error) for outcome in hearing.outcomes] == ["no such model"] * 2
    assert all(isinstance(outcome.error, SteerEvalError) for outcome in hearing.outcomes)


def test_nothing_to_do() -> None:
    assert run([]).outcomes == []
