"""Large numbers in words: operations and bytes."""

from __future__ import annotations

_STEPS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def count_words(value: float) -> str:
    """ "1.3 M" for 1 300 000."""
    for name, size in _STEPS:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g}"


def bytes_words(value: float) -> str:
    """ "5.3 MB" for 5 300 000 bytes."""
    text = count_words(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} bytes"
