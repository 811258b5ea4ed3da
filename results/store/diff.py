"""Where two nested values differ: manifests, grids, identities."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"
"""Stands for a value that one side lacks."""


@dataclass(frozen=True)
class Difference:
    """One place at which two values differ."""

    path: str
    """`analysis.confidence`, `methods[1].strengths[0]`; empty for the values themselves."""
    first: str
    """The first value as JSON, or ABSENT."""
    second: str
    """The second one."""


def differences(first: Any, second: Any, path: str = "") -> Iterator[Difference]:
    """Every place at which two plain values (as JSON knows them) differ, in the order of the first.

    A value that only one side has is one difference.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{path}.{key}" if path else str(key)
            yield from _at(first, second, key, key in first, key in second, inner)
    elif _is_list(first) and _is_list(second):
        for place in range(max(len(first), len(second))):
            here, there = place < len(first), place < len(second)
            yield from _at(first, second, place, here, there, f"{path}[{place}]")
    elif first != second or isinstance(first, bool) is not isinstance(second, bool):
        yield Difference(path, _shown(first), _shown(second))


def _at(
    first: Any, second: Any, key: Any, in_first: bool, in_second: bool, path: str
) -> Iterator[Difference]:
    if in_first and in_second:
        yield from differences(first[key], second[key], path)
    else:
        values = (
            _shown(first[key]) if in_first else ABSENT,
            _shown(second[key]) if in_second else ABSENT,
        )
        yield Difference(path, *values)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
