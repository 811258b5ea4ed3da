"""Readers of text formats that may come from anyone: one error for all that can be wrong.

`Malformed` is a ValueError with one clear sentence, in place of what parsers raise for deep
nesting, numbers of thousands of digits or text that is not Unicode.
"""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 200
"""Levels of nesting that a document may have."""


class Malformed(ValueError):
    """A document that cannot be read, in one sentence."""


def parse_json(data: bytes | str, keep_surrogates: bool = False) -> Any:
    """The value of a JSON document.

    Args:
        data: The document, in UTF-8.
        keep_surrogates: Whether texts may have lone surrogates, which UTF-8 cannot hold.

    Raises:
        Malformed: It is not JSON, is nested more than DEEPEST levels, or has a number or a text
            that cannot be represented.
    """
    try:
        value = json.loads(data)
    except UnicodeDecodeError as error:
        raise Malformed(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise Malformed(_too_deep()) from error
    except ValueError as error:
        # Python names a setting of the interpreter for numbers of more than 4 300 digits.
        if "integer string conversion" in str(error):
            raise Malformed("a number has thousands of digits") from error
        raise Malformed(f"it is not JSON: {error}") from error
    check_plain(value, keep_surrogates)
    return value


def check_plain(value: Any, keep_surrogates: bool = False) -> None:
    """Refuse values that other readers and writers would stumble over.

    Args:
        value: Plain values: mappings, lists, texts, numbers, truth values and None.
        keep_surrogates: Whether texts may have lone surrogates.

    Raises:
        Malformed: They are nested more than DEEPEST levels, or a text has a lone surrogate.
    """
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.keys()
                below += each.values()
            elif isinstance(each, list | tuple):
                below += each
            elif isinstance(each, str) and not keep_surrogates:
                _check_text(each)
        if not below:
            return
        level = below
    raise Malformed(_too_deep())


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Malformed(
            f"a text has the lone surrogate {text[error.start]!r}, which is not a character"
        ) from error


def _too_deep() -> str:
    return f"it is nested more than {DEEPEST} levels deep"
