"""Typed options from plain values: YAML numbers, or the strings of `--model_args`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

from steereval.errors import InputError, nearest_remedy


def parse_options(owner: str, schema: type, given: dict[str, Any]) -> Any:
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


def _convert(owner: str, name: str, value: Any, kind: Any) -> Any:
    choices = get_args(kind) or (kind,)
    for choice in choices:
        if choice is bool and isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if choice is bool or isinstance(value, bool):
            if choice is bool and isinstance(value, bool):
                return value
            continue
        if choice in (int, float) and isinstance(value, (int, float, str)):
            try:
                number = float(value)
            except ValueError:
                continue
            if choice is float or number == int(number):
                return choice(number)
        if choice is str and isinstance(value, str):
            return value
        if value is None and choice is type(None):
            return None
    wanted = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise InputError(f"method {owner}: option {name} is {value!r}", f"It must be of type {wanted}.")
