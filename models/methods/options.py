"""Typed options from plain values: YAML numbers, or the strings of `--model_args`.

A method declares its options as a frozen dataclass. Pydantic validates values against its fields,
the ranges in their annotations (`steereval.common.limits`) among them; what concerns several fields
the dataclass refuses by a ValueError in `__post_init__`.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model

from steereval.common.errors import InputError
from steereval.common.validation import faults_of


def parse_options(owner: str, schema: type, given: Mapping[str, Any]) -> Any:
    """Typed options.

    Args:
        owner: Name of the method, for errors.
        schema: A dataclass.
        given: Values by name. Text stands for a number or a truth value where the option is one.

    Returns:
        An instance of `schema`.

    Raises:
        InputError: For an unknown name, a value of another type or out of range, or one that the
            dataclass refuses by a ValueError.
    """
    model = _model(schema)
    try:
        checked = model.model_validate(dict(given))
        return schema(**{name: getattr(checked, name) for name in given})
    except ValidationError as error:
        first = faults_of(error, model, "options")[0]
        raise InputError(f"method {owner}: {first.problem}", first.remedy) from None
    except ValueError as error:
        raise InputError(f"method {owner}: {error}") from None


def usual_options(schema: type) -> dict[str, Any]:
    """Defaults of the options of the dataclass `schema`, by name; "" where one must be given."""
    return {spec.name: "" if _is_required(spec) else _default(spec) for spec in fields(schema)}


def options_schema(schema: type) -> dict[str, Any]:
    """The JSON schema of the dataclass `schema`, with the docstrings of its fields."""
    json_schema = _model(schema).model_json_schema()
    descriptions = dict(_field_docstrings(schema))
    for name, entry in json_schema.get("properties", {}).items():
        entry.pop("title", None)
        if name in descriptions:
            entry["description"] = descriptions[name]
    return json_schema | {"description": inspect.getdoc(schema) or ""}


@cache
def _model(schema: type) -> type[BaseModel]:
    """A pydantic model with the fields of a dataclass."""
    hints = get_type_hints(schema, include_extras=True)
    declared: dict[str, Any] = {
        spec.name: (
            Annotated[hints[spec.name], BeforeValidator(_reader(hints[spec.name]))],
            ... if _is_required(spec) else _default(spec),
        )
        for spec in fields(schema)
    }
    config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )
    return create_model(schema.__name__, __config__=config, **declared)


def _is_required(spec: Field[Any]) -> bool:
    return spec.default is MISSING and spec.default_factory is MISSING


def _default(spec: Field[Any]) -> Any:
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Turns text and floats into what an option with this type hint takes, if they stand for it."""
    kinds = set(_scalars(hint))

    def read(value: Any) -> Any:
        if isinstance(value, str) and str not in kinds:
            return _from_text(value, kinds)
        whole = isinstance(value, float) and int in kinds and float not in kinds
        return int(value) if whole and value.is_integer() else value

    return read


def _scalars(hint: Any) -> Iterator[Any]:
    """The types that a value of this type hint may have; `str` for a choice of words."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _scalars(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _scalars(part)
    elif isinstance(hint, type):
        yield hint
    else:
        yield str


def _from_text(text: str, kinds: set[Any]) -> Any:
    words = {"true": True, "false": False}
    if bool in kinds and text.lower() in words:
        return words[text.lower()]
    if int in kinds:
        with suppress(ValueError):
            return int(text)
    if kinds & {int, float}:
        with suppress(ValueError):
            number = float(text)
            is_whole = float not in kinds and number.is_integer()
            return int(number) if is_whole else number
    return text


def _field_docstrings(schema: type) -> Iterator[tuple[str, str]]:
    """(field, docstring under it) of a dataclass and its bases, theirs first.

    A class without source, such as one of an interactive session, has none.
    """
    for kind in reversed(schema.__mro__):
        with suppress(OSError, TypeError):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            body = getattr(tree, "body", [])
            for line, following in itertools.pairwise(body):
                text = getattr(getattr(following, "value", None), "value", None)
                if isinstance(line, ast.AnnAssign) and isinstance(text, str):
                    yield ast.unparse(line.target), inspect.cleandoc(text).replace("\n", " ")
