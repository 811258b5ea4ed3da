"""Values of CSV files that spreadsheets open safely."""

from __future__ import annotations

import re


def csv_safe(value: object) -> object:
    """A value of a CSV file that no spreadsheet runs as a formula.

    Texts that begin with `=`, `+`, `-`, `@`, a tab or a carriage return get a leading apostrophe,
    unless they are numbers (OWASP, "CSV Injection").
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"


_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
