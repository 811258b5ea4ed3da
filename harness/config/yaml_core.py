"""YAML by the core schema of version 1.2, with PyYAML's parser.

PyYAML resolves plain words by version 1.1, where `no` and `on` are truth values, `1e-4` is text,
`010` is 8, `1:30` is 90 and `2024-01-01` is a date. Here they are what users mean: text, a number,
10, text, text. A key that is given twice is refused. Merge keys (`<<`) work.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

import yaml

from steereval.common.reading import check_plain
from steereval.common.text import first_line

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
)
"""Tag, pattern and first characters of the plain words that are not text, in order (YAML 1.2.2,
section 10.3.2)."""


class _CoreLoader(yaml.SafeLoader):
    """A safe loader of the core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


MOST_VALUES = 1_000_000
"""Values that a document may hold, each alias counted in full."""


def _whole(loader: _CoreLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.lstrip("+-")[:2] in ("0o", "0x") else int(text)


def _mapping(loader: _CoreLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: list[Any] = []
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True) if _is_key(key_node) else "<<"
        if not isinstance(key, Hashable):
            raise _refused("a key is a list or a mapping", key_node)
        if key in keys:
            raise _refused(f"the key {key!r} is given twice", key_node)
        keys.append(key)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _is_key(node: yaml.Node) -> bool:
    return node.tag != f"{_TAG}merge"


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _name, _pattern, _first in _CORE:
    _CoreLoader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})$"), _first)
_CoreLoader.add_constructor(f"{_TAG}int", _whole)
_CoreLoader.add_constructor(f"{_TAG}map", _mapping)


def read_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """The values in a document, and its nodes.

    Args:
        text: One YAML document.

    Returns:
        Plain values, and the root of the nodes, for `line_of`; None of an empty document.

    Raises:
        yaml.YAMLError: If it is not valid.
    """
    loader = _CoreLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _check_size(root)
        value = loader.construct_document(root)
        check_plain(value)
        return value, root
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, TypeError, OverflowError) as error:
        # Python names a setting of the interpreter for numbers of more than 4 300 digits.
        if "integer string conversion" in str(error):
            raise yaml.YAMLError("a number has thousands of digits") from error
        raise yaml.YAMLError(first_line(error)) from error
    finally:
        loader.dispose()


def _check_size(root: yaml.Node) -> None:
    """Refuse a document whose aliases expand to too many values."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            # A node that holds itself has no end.
            sizes[id(node)] = MOST_VALUES
            parts: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                parts = list(node.value)
            elif isinstance(node, yaml.MappingNode):
                parts = [each for pair in node.value for each in pair]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if size(root) > MOST_VALUES:
        raise yaml.YAMLError(f"it holds more than {MOST_VALUES} values once aliases are expanded")


def line_of(root: yaml.Node, place: Sequence[str | int]) -> int:
    """The line (from 1) of the value at `place`, or of the nearest part that there is."""
    node = line = root
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == str(step)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            pairs = [(each, each) for each in node.value[step : step + 1]]
        else:
            pairs = []
        if not pairs:
            break
        line, node = pairs[-1]  # A merged key stands before the one that replaces it.
    return int(line.start_mark.line) + 1
