"""JSON documents of a run folder: written and read by the same pydantic models.

A document is read into a model before anything uses it, so a damaged file is named together with
the field at fault. What a newer version of this program adds is kept and written back.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from steereval.common.errors import StoreError
from steereval.common.reading import parse_json as from_json
from steereval.common.validation import Fault, faults_of

JsonObject = dict[str, Any]
"""A part of a document that this room does not look into."""

CONFIG = ConfigDict(strict=True, extra="allow", use_attribute_docstrings=True)


class Part(BaseModel):
    """A document, or a part of one."""

    # Validators are built when a document is first read, not when a command starts.
    model_config = ConfigDict(**CONFIG, frozen=True, defer_build=True)

    def plain(self) -> JsonObject:
        """The values that were given, as JSON has them; defaults are left out."""
        return self.model_dump(mode="json", exclude_unset=True)


P = TypeVar("P", bound=BaseModel)


def parse_json(name: str, data: bytes, remedy: str) -> JsonObject:
    """The object in the bytes of the file `name`; StoreError if there is none."""
    try:
        value = from_json(data)
    except ValueError as error:
        raise StoreError(f"{name} is damaged: {error}", f"Delete it. {remedy}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{name} is damaged: it holds no object", f"Delete it. {remedy}")
    return value


def read_document(model: type[P], name: str, value: JsonObject, remedy: str) -> P:
    """A document from plain values.

    Args:
        model: What it is.
        name: Its file, for errors.
        value: Its content.
        remedy: What to do where it does not fit.

    Returns:
        The document.

    Raises:
        StoreError: If it does not fit; the message names file and field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = faults_of(error, model, "")[0]
        raise StoreError(f"{name}: {first.problem}", f"{first.remedy} {remedy}".strip()) from error


def document_faults(model: type, value: object) -> list[Fault]:
    """Everything in a document, given as plain values, that does not fit `model`."""
    try:
        TypeAdapter(model).validate_json(json.dumps(value))
    except ValidationError as error:
        return faults_of(error, model, "")
    return []


def json_bytes(value: Part | JsonObject, what: str) -> bytes:
    """A document, called `what` in errors, as JSON that other programs read; else StoreError."""
    plain = value.plain() if isinstance(value, Part) else value
    try:
        text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} cannot be written as JSON: {error}") from error
    return text.encode() + b"\n"
