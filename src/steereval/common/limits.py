"""Ranges of numbers, to annotate fields with: `steps: Positive[int] = 10`.

Values are checked where pydantic validates them, and JSON schemas state the range.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from annotated_types import Ge, Gt, Lt

N = TypeVar("N", int, float)

Positive = Annotated[N, Gt(0)]
"""Above 0."""
NotNegative = Annotated[N, Ge(0)]
"""0 or more."""
Fraction = Annotated[float, Gt(0), Lt(1)]
"""Between 0 and 1, both excluded."""
