"""Errors of pydantic as this program words them: the problem with the value, then the remedy."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from steereval.common.errors import nearest_remedy

Place = tuple[str | int, ...]
"""Keys and indices from the root of a document to a value."""

FAULT = "steereval_fault"
"""Type of the errors that `fault` makes."""


@dataclass(frozen=True)
class Fault:
    """One thing in a document that cannot be used."""

    place: Place
    """Where it is; empty for the document itself."""
    problem: str
    """The problem, with the value."""
    remedy: str
    """The remedy."""


def fault(problem: str, remedy: str) -> PydanticCustomError:
    """An error for validators to raise; `problem` may hold `{where}`, the path of the value."""
    return PydanticCustomError(FAULT, "{problem}", {"problem": problem, "remedy": remedy})


def path_of(place: Iterable[str | int], root: str = "") -> str:
    """`place` as text: `grid.tasks[0].limit`."""
    text = root
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def shown(value: object) -> str:
    """`value` as it stands in a message, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def faults_of(error: ValidationError, model: Any, root: str) -> list[Fault]:
    """The faults that pydantic found, in words.

    Args:
        error: What validating a document as a `model` raised.
        model: A pydantic model or dataclass.
        root: The name of the document in messages.

    Returns:
        A fault for each error, in the order of the document, missing keys last: one is often
        missing because its name is misspelt, and that is the error to name.
    """
    errors = sorted(error.errors(include_url=False), key=lambda each: each["type"] in _MISSING)
    return [_fault(each, model, root) for each in errors]


def _fault(error: ErrorDetails, model: Any, root: str) -> Fault:
    place, kind = error["loc"], error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    where = path_of(place, root)
    if kind == FAULT:
        return Fault(place, context["problem"].replace("{where}", where), context["remedy"])
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = fields_of(kind_at(model, place[:-1]))
        owner, key = path_of(place[:-1], root), str(place[-1])
        remedy = nearest_remedy(key, known) if known else "Remove it: there are none."
        return Fault(place, f"{owner} has an unknown key {key!r}", remedy)
    if kind in _MISSING:
        owner, key = path_of(place[:-1], root), str(place[-1])
        return Fault(place, f"{owner} has no {key!r}", f"Add `{key}: ...`.")
    problem = f"{where} is {shown(error['input'])}"
    if kind == "literal_error":
        choices = map(str, choices_of(kind_at(model, place)))
        return Fault(place, problem, nearest_remedy(str(error["input"]), choices))
    return Fault(place, problem, _remedy(kind, context) or f"{error['msg']}.")


def _remedy(kind: str, context: Mapping[str, Any]) -> str | None:
    for prefix, wanted in _WANTED.items():
        if kind.startswith(prefix):
            return f"It must be {wanted}."
    if kind == "too_short":
        return f"Give at least {context['min_length']}."
    return f"It must be {_BOUNDS[kind](context)}." if kind in _BOUNDS else None


_MISSING = ("missing", "missing_argument")
_WANTED = {
    "string_": "text",
    "int_": "a whole number",
    "float_": "a finite number",
    "finite_number": "a finite number",
    "bool_": "true or false",
    "tuple_": "a list",
    "list_": "a list",
    "dict_": "a mapping of keys to values",
    "mapping_": "a mapping of keys to values",
    "model_": "a mapping of keys to values",
    "dataclass_": "a mapping of keys to values",
}
"""Required values in words, by the start of the type of pydantic's error."""

_BOUNDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda c: f"above {c['gt']:g}",
    "greater_than_equal": lambda c: f"{c['ge']:g} or more",
    "less_than": lambda c: f"below {c['lt']:g}",
    "less_than_equal": lambda c: f"at most {c['le']:g}",
}


def fields_of(kind: Any) -> list[str]:
    """The keys that a model, a pydantic dataclass or a TypedDict has."""
    fields: Mapping[str, Any] = getattr(
        kind, "__pydantic_fields__", getattr(kind, "__annotations__", {})
    )
    return list(fields)


def kind_at(kind: Any, place: Sequence[str | int]) -> Any:
    """The type of the value at `place` in a document of type `kind`."""
    for step in place:
        fields = getattr(kind, "__pydantic_fields__", {})
        if step in fields:
            kind = bare_type(fields[step].annotation)
        else:
            arguments = get_args(kind)
            kind = bare_type(arguments[-1 if get_origin(kind) is dict else 0]) if arguments else Any
    return kind


def bare_type(kind: Any) -> Any:
    """`kind` without annotations, without None, and a NewType as what it is made of."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            kind = next(part for part in get_args(kind) if part is not types.NoneType)
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        else:
            return kind


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal; empty for another type."""
    return get_args(kind) if get_origin(kind) is Literal else ()
