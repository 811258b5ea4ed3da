"""Text of file names and messages, and short hashes of text."""

from __future__ import annotations

import hashlib
import re


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to quote in another one; its class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def short_hash(text: str | bytes, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of a text (as UTF-8): 16 name 10^8 things
    without a clash, with a probability of one in 3 700."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:digits]


def slug(*parts: str) -> str:
    """`parts` as a file name; a hash stands for characters not allowed there."""
    text = "-".join(parts)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    if plain == text:
        return plain
    return f"{plain}-{short_hash(text, 6)}"
