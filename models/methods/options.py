"""Typed options from plain values: YAML numbers, or the strings of `--model_args`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from steereval.common.errors import InputError, nearest_remedy


def parse_options(owner: str, schema: type, given: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `schema` from `given`.

    Raises InputError for an unknown name, a value of another type, or a value that the
    dataclass itself refuses by a ValueError.
    """
    known = {spec.name for spec in fields(schema)}
    hints = get_type_hints(schema)
    for name in given:
        if name not in known:
            remedy = nearest_remedy(name, known) if known else "It has no options."
            raise InputError(f"method {owner} has no option {name!r}", remedy)
    values = {name: _convert(owner, name, value, hints[name]) for name, value in given.items()}
    try:
        return schema(**values)
    except ValueError as error:
        raise InputError(f"method {owner}: {error}") from None


def usual_options(schema: type) -> dict[str, Any]:
    """Defaults of the options of the dataclass `schema`, by name; "" where one must be given."""
    defaults: dict[str, Any] = {}
    for spec in fields(schema):
        if spec.default_factory is not MISSING:
            defaults[spec.name] = spec.default_factory()
        else:
            defaults[spec.name] = "" if spec.default is MISSING else spec.default
    return defaults


def _convert(owner: str, name: str, value: Any, kind: Any) -> Any:
    choices: tuple[Any, ...] = (dict,) if get_origin(kind) is dict else get_args(kind) or (kind,)
    for choice in choices:
        matches, converted = _as(choice, value)
        if matches:
            return converted
    if get_origin(kind) is Literal:
        remedy = nearest_remedy(str(value), choices)
    else:
        wanted = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
        remedy = f"It must be of type {wanted}."
    raise InputError(f"method {owner}: option {name} is {value!r}", remedy)


def _as(choice: Any, value: Any) -> tuple[bool, Any]:
    """Whether `value` can be taken as a `choice`, and what it is then."""
    if isinstance(value, bool) or choice is bool:
        words = {"true": True, "false": False}
        known = words.get(value.lower()) if isinstance(value, str) else value
        return choice is bool and isinstance(known, bool), known
    if choice in (type(None), str, dict):
        return isinstance(value, choice), value
    if isinstance(choice, str):
        return value == choice, value
    if choice in (int, float) and isinstance(value, (int, float, str)):
        return _as_number(choice, value)
    return False, None


def _as_number(choice: type, value: int | float | str) -> tuple[bool, int | float]:
    """`value` as a finite number; as a whole one, without rounding, for int."""
    try:
        if choice is int and not isinstance(value, float):
            with suppress(ValueError):
                return True, int(value)
        number = float(value)
    except (ValueError, OverflowError):
        return False, 0
    if not math.isfinite(number):
        return False, 0
    return choice is float or number.is_integer(), choice(number)
