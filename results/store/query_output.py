"""The answer to a query as text: a table to read, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from steereval.common.csv_text import csv_safe
from steereval.common.errors import UnknownNameError
from steereval.common.text import visible
from steereval.results.store.query import Answer

MOST_LINES: Final = 200
"""So many rows of a table are shown; CSV and JSON hold them all."""
MOST_COUNTED: Final = 1_000_000
"""So many of the others are counted: an answer may have no end."""


def lines_of(answer: Answer, form: str) -> Iterator[str]:
    """The lines of `answer` as "table", "csv" or "json". Raises UnknownNameError for others."""
    if form not in FORMS:
        raise UnknownNameError.of("format", form, FORMS)
    return FORMS[form](answer)


def _table(answer: Answer) -> Iterator[str]:
    """Columns under their names, numbers flush right."""
    columns = [_short(column) for column in answer.columns]
    rows = list(islice(answer.rows, MOST_LINES))
    texts = [[_short(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in (columns, *texts)) for i in range(len(columns))]
    numeric = [
        any(_is_number(row[i]) for row in rows) and all(_is_number(row[i], True) for row in rows)
        for i in range(len(columns))
    ]

    def laid_out(line: Sequence[str]) -> str:
        cells = zip(line, widths, numeric, strict=True)
        return "  ".join(t.rjust(w) if right else t.ljust(w) for t, w, right in cells).rstrip()

    yield laid_out(columns)
    yield "  ".join("-" * width for width in widths)
    yield from map(laid_out, texts)
    left = sum(1 for _ in islice(answer.rows, MOST_COUNTED))
    if left:
        or_more = " or more" if left == MOST_COUNTED else ""
        yield f"... and {left}{or_more} more rows: --format csv and --format json have all"


def _csv(answer: Answer) -> Iterator[str]:
    """With a header; null is empty."""
    yield _csv_line(answer.columns)
    yield from map(_csv_line, answer.rows)


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(csv_safe, values))
    return line.getvalue()


def _json(answer: Answer) -> Iterator[str]:
    """A list of objects, one a line."""
    before = "["
    for row in answer.rows:
        values = {name: _plain(value) for name, value in zip(answer.columns, row, strict=True)}
        yield before + json.dumps(values, ensure_ascii=False)
        before = ","
    yield "[]" if before == "[" else "]"


FORMS: Final[dict[str, Callable[[Answer], Iterator[str]]]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
}
"""How an answer can be written."""


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return visible(" ".join(text.splitlines()))


def _is_number(value: Any, or_null: bool = False) -> bool:
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return is_number or (or_null and value is None)


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: numbers that are not finite, dates and the like as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value)
