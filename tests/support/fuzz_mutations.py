"""Damaged variants of valid files: bytes, JSON and YAML values, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, float("inf"), float("nan"), "", "x" * 5000, "\ud800",
    "\x00", "=1+1", "../../x", [], {}, [[]], {"a": {}}, "9" * 5000,
)  # fmt: skip
TEXTS = (
    b"[" * 100_000, b"{\"a\":" * 100_000, b"- " * 50_000, b"a: " * 3_000, b"1" * 5_000, b"1e999",
    b"\"\\ud800\"", b"\xff\xfe", b"!!int x", b"[a]: 1", b"? [a]\n: 1", b"&a [*a]", b"*b", b"\x00",
    b"!!python/object/apply:os.system [x]", b"a: 1\na: 2", b"<<: 3", b"NaN", b"'", b"\t", b"",
    b"a: &a [" + b"x," * 100 + b"]\nb: &b [" + b"*a," * 100 + b"]\nc: [" + b"*b," * 200 + b"]",
)  # fmt: skip


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One of several kinds of damage to the bytes of a file."""
    kinds: tuple[Callable[[bytes, random.Random], bytes], ...] = (
        _cut, _flipped, _spliced, _repeated, _replaced, _of_values, _of_values, _of_values,
    )  # fmt: skip
    return draw.choice(kinds)(data, draw)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _flipped(data: bytes, draw: random.Random) -> bytes:
    content = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if content:
            content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def _spliced(data: bytes, draw: random.Random) -> bytes:
    first, second = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    return data[:first] + draw.choice(TEXTS) + data[second:]


def _repeated(data: bytes, draw: random.Random) -> bytes:
    first, second = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    return data[:second] + data[first:second] * draw.choice((1, 2, 50)) + data[second:]


def _replaced(data: bytes, draw: random.Random) -> bytes:
    return draw.choice(TEXTS)


def _of_values(data: bytes, draw: random.Random) -> bytes:
    """A JSON document with one value replaced, removed or added; other files are cut."""
    try:
        value = json.loads(data)
    except ValueError:
        return _lines_of_values(data, draw)
    return _dumped(_changed(value, draw))


def _lines_of_values(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines()
    if not lines:
        return data
    index = draw.randrange(len(lines))
    try:
        value = json.loads(lines[index])
    except ValueError:
        return _flipped(data, draw)
    lines[index] = _dumped(_changed(value, draw))
    return b"\n".join(lines) + b"\n"


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        action = draw.random()
        if action < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if action < 0.2:
            return value | {"unknown": draw.choice(NASTY)}
        return value | {key: _changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        index = draw.randrange(len(value))
        return [*value[:index], _changed(value[index], draw), *value[index + 1 :]]
    return draw.choice(NASTY)
