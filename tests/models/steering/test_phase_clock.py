"""Time is counted once, for the innermost phase."""

from __future__ import annotations

from unittest import mock

import pytest

from steereval.models.steering.phase_clock import Clock, measured, phase


def test_the_innermost_phase_counts() -> None:
    clock = Clock("cpu")
    ticks = mock.patch("time.perf_counter", side_effect=iter(range(100)))
    with ticks, measured(clock), phase("outer"):  # begins at 0
        with phase("inner"), phase("outer"):  # 1 and 2
            pass  # end at 3 and 4
        with phase("inner"):  # 5
            pass  # 6
    # 7
    assert clock.seconds == {"outer": 1 + 1 + 1 + 1, "inner": 1 + 1 + 1}


def test_an_error_ends_a_phase() -> None:
    clock = Clock("cpu")
    with measured(clock):
        with pytest.raises(ValueError, match="no"), phase("failing"):
            raise ValueError("no")
        with phase("next"):
            pass
    assert set(clock.seconds) == {"failing", "next"}


def test_nothing_is_measured_without_a_clock() -> None:
    clock = Clock("cpu")
    with measured(clock):
        pass
    with phase("late"):
        pass
    assert clock.seconds == {}
