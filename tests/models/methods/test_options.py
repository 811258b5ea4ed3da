"""Options from YAML values and from the strings of `--model_args`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steereval.common.errors import InputError
from steereval.models.methods.options import options_schema, parse_options
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
    result = getattr(parse(**{name: value}), name)
    assert result == wanted
    assert type(result) is type(wanted)


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
    with pytest.raises(InputError, match=rf"options\.{name} is "):
        parse(**{name: value})


def test_unknown_name_is_reported_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"sample.*'cuont'.*'count'"):
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
    with pytest.raises(InputError, match=f"{name}.*'stps'"):
        METHODS[name].options({"stps": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("degree", 0),
        ("components", -3),
        ("gamma", 0),
        ("coef0", -0.1),
        ("C", 0),
        ("max_iterations", 0),
        ("solver", "heun"),
        ("steps", 0),
        ("tolerance", -1),
    ],
)
def test_odesteers_ranges(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"odesteer.*{name} is {value!r}"):
        METHODS["odesteer"].options({name: value})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_schema_describes_every_option(name: str) -> None:
    kind = METHODS[name].Options
    properties = options_schema(kind).get("properties", {})
    assert list(properties) == [spec.name for spec in fields(kind)]
    assert all(entry["description"] for entry in properties.values())


def test_ranges_and_choices_stand_in_the_schema() -> None:
    properties = options_schema(METHODS["odesteer"].Options)["properties"]
    assert properties["degree"]["exclusiveMinimum"] == 0
    assert properties["degree"]["default"] == 2
    assert "adaptive" in properties["solver"]["enum"]


def test_steps_is_not_an_option_of_the_single_step() -> None:
    with pytest.raises(InputError, match=r"step_odesteer.*'steps'"):
        METHODS["step_odesteer"].options({"steps": 3})
