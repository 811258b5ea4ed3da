"""Keys by which questions and statements are recognised across contrast sets and benchmarks."""

from __future__ import annotations

import unicodedata

from steereval.common.text import short_hash

_PLAIN_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})
_SEPARATOR = "\x1f"


def normalise(text: str) -> str:
    """`text` as it is compared: NFKC, plain quotes, case folded, white space collapsed."""
    plain = unicodedata.normalize("NFKC", text).translate(_PLAIN_QUOTES)
    # Case folding can take a text out of its normal form, hence the second time.
    return " ".join(unicodedata.normalize("NFKC", plain.casefold()).split())


def question_key(question: str) -> str:
    """The key (16 hexadecimal digits) of a question, the same for all its spellings.

    A contrast set and a benchmark that were built from the same questions share these keys, so
    this is how the fold of an evaluated item is found.
    """
    return _digest("question", normalise(question))


def pair_key(*parts: str) -> str:
    """The key (16 hexadecimal digits) of statements without a question, from what names them."""
    return _digest("pair", *map(normalise, parts))


def _digest(*parts: str) -> str:
    return short_hash(_SEPARATOR.join(parts))
