"""One worker in this process."""

from __future__ import annotations

from typing import Any

import pytest

from steereval.errors import CellError, ModelError, SteerEvalError, StoreError
from steereval.ray_jobs.serial import SerialExecutor
from steereval.ray_jobs.work import Outcome, Work


class Recorder:
    """Raises the payload if it is an error, and remembers the rest."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.payloads: list[Any] = []

    def run(self, payload: Any) -> None:
        self.payloads.append(payload)
        if isinstance(payload, Exception):
            raise payload


def run(payloads: list[Any]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    works = [Work(str(n), -n, "a", payload) for n, payload in enumerate(payloads)]
    SerialExecutor().run(works, Recorder, outcomes.append)
    return outcomes


def test_all_outcomes_in_order_of_cost() -> None:
    outcomes = run(["x", "y", "z"])
    assert [outcome.work.payload for outcome in outcomes] == ["x", "y", "z"]
    assert all(outcome.error is None and outcome.seconds >= 0 for outcome in outcomes)


def test_one_worker_does_all() -> None:
    before = Recorder.made
    run([1, 2, 3])
    assert Recorder.made == before + 1


def test_an_error_of_one_is_told_and_the_rest_goes_on() -> None:
    failure = CellError("it failed", "Do better.")
    outcomes = run([1, failure, 3])
    assert [outcome.error for outcome in outcomes] == [None, failure, None]


def test_a_store_error_ends_the_run() -> None:
    told: list[Outcome] = []
    works = [Work("a", 3, "", 1), Work("b", 2, "", StoreError("disk full")), Work("c", 1, "", 3)]
    with pytest.raises(StoreError, match="disk full"):
        SerialExecutor().run(works, Recorder, told.append)
    assert [outcome.work.id for outcome in told] == ["a"]


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run([1, ZeroDivisionError("oops")])


def test_a_worker_that_cannot_be_made() -> None:
    """Each piece tells why, as with workers in other processes."""

    def factory() -> Recorder:
        raise ModelError("no such model")

    outcomes: list[Outcome] = []
    works = [Work(name, 1, "", 0) for name in "ab"]
    SerialExecutor().run(works, factory, outcomes.append)
    assert [str(outcome.error) for outcome in outcomes] == ["no such model"] * 2
    assert all(isinstance(outcome.error, SteerEvalError) for outcome in outcomes)


def test_nothing_to_do() -> None:
    assert run([]) == []
