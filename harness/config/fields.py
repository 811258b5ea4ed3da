"""Types of the grid file's fields: what they are part of, and how their values are written.

YAML has already told numbers, text and truth values apart, so none is taken for another: `limit:
"3"` is a mistake, and a version `2.10` in place of a name is one as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NewType, TypeVar

from annotated_types import Ge
from pydantic import AfterValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from steereval.common.paths import expanded
from steereval.common.validation import fault, shown

T = TypeVar("T")


class Part(Enum):
    """The part of a grid that a field belongs to."""

    IDENTITY = "identity"
    """The computation of a cell: part of the cell's id."""
    ANALYSIS = "analysis"
    """How finished rows are read: never changes a row."""
    RUNTIME = "runtime"
    """How and where cells are computed: never changes a row."""


OMITTED = "omitted from the identity where it has its default"
Identity = Annotated[T, Part.IDENTITY]
IdentityIfGiven = Annotated[T, Part.IDENTITY, OMITTED]
"""Part of the identity unless it has its default: a key that was added later, so that grids
without it keep their ids."""
Analysis = Annotated[T, Part.ANALYSIS]
Runtime = Annotated[T, Part.RUNTIME]

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""Of every part of a grid file: no key that is not declared, and a field's docstring describes it
in the JSON schema."""

Text = Annotated[str, Strict()]
PathText = Annotated[str, Strict(), AfterValidator(expanded)]
"""A name or a path, whose `~` is the home folder."""
Flag = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Ge(1)]
"""1, 2, 3 ..."""

LayerSet = NewType("LayerSet", str)
"""Blocks (0-based) that are steered together: `14`, `12+14` (a list in YAML) or `all`."""


@dataclass(frozen=True)
class _Written:
    """Another way to write a value, which is turned into the usual one before it is checked."""

    read: Callable[[Any], Any]
    """From a value as it is written to the usual form; a value already of that form stays."""
    schema: Callable[[JsonSchemaValue], JsonSchemaValue]
    """From the JSON schema of the usual form to the one that the file may have."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self.schema(handler(schema))


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


Listed = Annotated[
    tuple[T, ...], _Written(_listed, lambda schema: {"anyOf": [schema["items"], schema]})
]
"""A list; a value that stands alone is a list of one."""


def short_for(key: str) -> _Written:
    """For mappings in whose place the value of `key` may stand alone."""
    return _Written(
        lambda value: {key: value} if isinstance(value, str) else value,
        lambda schema: {"anyOf": [{"type": "string"}, schema]},
    )


Named = Annotated[T, short_for("name")]
"""A mapping, or its name alone."""


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    seen = set()
    for value in values:
        if value in seen:
            raise fault(f"{{where}} has {shown(value)} twice", "Remove one: cells would repeat.")
        seen.add(value)
    return values


def _layer_set(value: Any) -> LayerSet:
    """`14`, `[12, 14]`, `12+14` or `all`, as one text."""
    if value == "all":
        return LayerSet("all")
    parts = value.split("+") if isinstance(value, str) else value
    blocks = parts if isinstance(parts, list) else [parts]
    try:
        numbers = [int(block) for block in blocks if not isinstance(block, (bool, float))]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or len(numbers) < len(blocks):
        raise fault(
            f"{{where}} is {shown(value)}", "It must be a whole number, a list of them, or `all`."
        )
    if min(numbers) < 0:
        raise fault(f"{{where}} has layer {min(numbers)}", "Layers count from 0.")
    if len(set(numbers)) < len(numbers):
        raise fault("{where} names a layer twice", "Remove one.")
    return LayerSet("+".join(map(str, numbers)))


_BLOCK: JsonSchemaValue = {"type": "integer", "minimum": 0}
_LAYERS = _Written(
    _layer_set,
    lambda _: {
        "anyOf": [
            _BLOCK,
            {"type": "string", "pattern": r"^(all|\d+(\+\d+)*)$"},
            {"type": "array", "items": _BLOCK, "minItems": 1, "uniqueItems": True},
        ]
    },
)
Layers = Annotated[Listed[Annotated[LayerSet, _LAYERS]], AfterValidator(_distinct)]
"""Columns of layers, none twice."""
Strengths = Annotated[Listed[Number], AfterValidator(_distinct)]
"""Strengths, none twice."""


def _seeds(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or len(set(values)) < len(values) or min(values) < 0:
        raise fault(f"{{where}} is {list(values)}", "Give distinct whole numbers from 0 on.")
    return values


Seeds = Annotated[Listed[Whole], AfterValidator(_seeds)]
"""Distinct whole numbers, 0 or more."""


def _devices(value: float) -> float:
    if value <= 0 or (value > 1 and value != int(value)):
        raise fault(f"{{where}} is {value:g}", "Use a fraction up to 1, or a whole number.")
    return value


Devices = Annotated[float, Strict(), AfterValidator(_devices)]
"""A share of a device, or a whole number of them."""
