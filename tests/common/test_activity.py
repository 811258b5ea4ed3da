"""What a process is doing, as another thread sees it."""

from __future__ import annotations

import threading

import pytest

from steereval.common.activity import (
    Activity,
    add_operations,
    begin_work,
    current,
    doing,
    every,
    still,
)


def test_phases_and_operations() -> None:
    begin_work()
    with doing("a"):
        add_operations(2.0)
        with doing("b"):
            add_operations(3.0)
            assert current() == Activity("b", 5.0)
        assert current().phase == "a"
    assert current() == Activity("", 5.0)
    begin_work()
    assert current().operations == 0.0


def test_a_phase_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="no"), doing("a"):
        raise ValueError("no")
    assert current().phase == ""


def test_calls_come_while_the_block_runs() -> None:
    called = threading.Event()
    with every(0.001, called.set):
        assert called.wait(10)
    assert not any(thread.name == "every" for thread in threading.enumerate())


def test_an_error_of_a_call_is_raised_at_the_end() -> None:
    called = threading.Event()

    def fail() -> None:
        called.set()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), every(0.001, fail):
        assert called.wait(10)


def test_a_long_step_says_that_it_goes_on() -> None:
    lines: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            enough.set()

    with still(say, "checking", 0.001):
        assert enough.wait(10)
    assert lines[0].startswith("checking: ")
