"""Values of CSV files that spreadsheets open safely."""

from __future__ import annotations

import re

_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def csv_safe(value: object) -> object:
    """A value of a CSV file that no spreadsheet runs as a formula.

    Texts that begin with `=`, `+`, `-`, `@`, their full-width forms, a tab or a line break get a
    leading apostrophe, unless they are numbers (OWASP, "CSV Injection").
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA_STARTS):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"
