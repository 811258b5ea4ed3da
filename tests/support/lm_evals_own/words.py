"""The words of which the made-up data sets consist."""

from __future__ import annotations

import itertools
import random

WORDS = tuple("".join(letters) for letters in itertools.product("bdfglmnprst", "aeiou", "nrst"))


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))
