"""The question within a prompt."""

from __future__ import annotations

import re

_FRAME = re.compile(r"\s*Q:\s*(.*?)\s*\n\s*A:\s*", re.S)


def question_of(prompt: str) -> str:
    """The text between `Q:` and `A:` if that is all of the prompt, else the prompt itself."""
    framed = _FRAME.fullmatch(prompt)
    return framed[1] if framed else prompt.strip()
