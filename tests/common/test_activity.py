"""What a process is doing, as another thread sees it."""

from __future__ import annotations

import threading

import pytest

from steereval.common.activity import (
    Activity,
    Voice,
    add_operations,
    add_requests,
    add_tokens,
    begin_work,
    current,
    doing,
    every,
    expect_requests,
    listening,
    printed,
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


def test_a_command_reports_when_it_printed_nothing_for_long() -> None:
    now = [0.0]
    voice = Voice(lambda: now[0])
    with listening(voice):
        now[0] = 9.0
        assert voice.due(10) is None
        printed()
        now[0] = 18.0
        assert voice.due(10) is None, "a line was printed at 9 s"
        now[0] = 19.0
        with doing("reading"):
            line = voice.due(10)
        assert line is not None
        assert line.startswith("reading")
        assert "19 s" in line
        assert voice.due(10) is None, "its own line counts"
    printed()
    now[0] = 30.0
    assert voice.due(10) is not None, "lines outside of the block are not heard"


def test_work_is_counted_from_its_beginning() -> None:
    begin_work()
    add_tokens(5)
    expect_requests(4)
    add_requests(3)
    activity = current()
    assert (activity.tokens, activity.requests, activity.expected) == (5, 3, 4)
    begin_work()
    assert current() == Activity()
