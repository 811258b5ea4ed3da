"""Text of file names and messages."""

from __future__ import annotations

import hashlib
import re


def slug(*parts: str) -> str:
    """`parts` as a file name; what cannot stand in one is told apart by a hash."""
    text = "-".join(parts)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
