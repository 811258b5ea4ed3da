"""Options from YAML values and from the strings of `--model_args`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import InputError
from steereval.models.methods.options import parse_options
from steereval.models.methods.registry import BUILT_IN as METHODS


@dataclass(frozen=True)
class Sample:
    count: int = 1
    rate: float = 0.5
    name: str = "plain"
    on: bool = False
    limit: int | None = 3

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be below 0, not {self.count}")


def parse(**given_options: Any) -> Any:
    return parse_options("sample", Sample, given_options)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("count", 7, 7),
        ("count", "7", 7),
        ("count", 7.0, 7),
        ("count", "8e3", 8000),
        ("count", "10.0", 10),
        ("count", 2**60 + 1, 2**60 + 1),
        ("count", str(2**60 + 1), 2**60 + 1),
        ("rate", 1, 1.0),
        ("rate", "0.25", 0.25),
        ("rate", "1e-3", 0.001),
        ("name", "other", "other"),
        ("name", "1", "1"),
        ("on", True, True),
        ("on", "True", True),
        ("on", "false", False),
        ("limit", None, None),
        ("limit", "4", 4),
    ],
)
def test_value(name: str, value: Any, wanted: Any) -> None:
    found = getattr(parse(**{name: value}), name)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 7.5),
        ("count", "x"),
        ("count", True),
        ("count", None),
        ("count", [1]),
        ("count", "nan"),
        ("count", "inf"),
        ("count", float("inf")),
        ("count", "1e400"),
        ("rate", "fast"),
        ("rate", False),
        ("rate", float("nan")),
        ("rate", "inf"),
        ("rate", 10**400),
        ("rate", {}),
        ("name", 3),
        ("name", True),
        ("name", None),
        ("on", 1),
        ("on", "yes"),
        ("limit", "none"),
        ("limit", 1.5),
    ],
)
def test_wrong_type(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"method sample: option {name} is .*must be of type"):
        parse(**{name: value})


def test_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"method sample has no option 'cuont'.*'count'"):
        parse(cuont=1)


def test_value_that_the_options_refuse() -> None:
    with pytest.raises(InputError, match="method sample: count must not be below 0, not -1"):
        parse(count=-1)


def test_defaults() -> None:
    assert parse() == Sample()


@given(st.integers(0, 10**30))
def test_whole_numbers_are_exact(value: int) -> None:
    assert parse(count=value).count == parse(count=str(value)).count == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_exact(value: float) -> None:
    assert parse(rate=value).rate == parse(rate=repr(value)).rate == value


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)


@given(st.sampled_from(["count", "rate", "name", "on", "limit"]), scalars)
def test_a_value_is_taken_or_refused_with_an_input_error(name: str, value: Any) -> None:
    kinds = {"count": int, "rate": float, "name": str, "on": bool, "limit": int | None}
    with suppress(InputError):
        assert isinstance(getattr(parse(**{name: value}), name), kinds[name])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_without_options_say_so(name: str) -> None:
    with pytest.raises(InputError, match=f"method {name} has no option 'stps'"):
        METHODS[name].options({"stps": 1})


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"degree": 0}, "degree must be above 0"),
        ({"components": -3}, "components must be above 0"),
        ({"gamma": 0}, "gamma must be above 0"),
        ({"coef0": -0.1}, "coef0 must not be below 0"),
        ({"C": 0}, "C must be above 0"),
        ({"max_iterations": 0}, "max_iterations must be above 0"),
        ({"solver": "heun"}, "solver must be one of euler, midpoint, rk4"),
        ({"steps": 0}, "steps must be above 0"),
    ],
)
def test_odesteers_ranges(given_options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"method odesteer: {message}"):
        METHODS["odesteer"].options(given_options)


def test_steps_is_no_option_of_the_single_step() -> None:
    with pytest.raises(InputError, match="step_odesteer has no option 'steps'"):
        METHODS["step_odesteer"].options({"steps": 3})
