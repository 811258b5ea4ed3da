"""Responses of fake runs that depend on cell and item, so that a reader of them can be checked."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from steereval.results.store.schema import RESPONSE_SCHEMA

HOSTILE = '<img src=x onerror=alert(1)> </script><script>alert(2)</script> & "q" \u2028 é 漢 🙂'


def likelihood(cell: dict[str, Any], item: str, choice: int) -> float:
    """Of a choice, between -10 and 0."""
    name = f"{cell['method']} {cell['strength']} {item} {choice}"
    digest = hashlib.sha256(name.encode()).digest()
    return -(int.from_bytes(digest[:4], "big") % 10_000) / 1000


def choices_of(item: str) -> int:
    """Two to four."""
    return 2 + int(item[-1]) % 3


def multiple_choice(cell: dict[str, Any], item_ids: list[str]) -> pa.Table:
    """Items with two to four choices, whose requests are stored in falling order."""
    rows = [
        _row(cell, item, choice, f"Question {item}?\nA:", f" choice {choice} of {item}")
        | {
            "kind": "loglikelihood",
            "log_likelihood": likelihood(cell, item, choice),
            "is_greedy": False,
        }
        for item in item_ids
        for choice in reversed(range(choices_of(item)))
    ]
    return pa.Table.from_pylist(rows, schema=RESPONSE_SCHEMA)


def generation(cell: dict[str, Any], item_ids: list[str]) -> pa.Table:
    """A text for each item; the first item's is hostile, and methods differ on every other."""
    rows = [
        _row(cell, item, 0, f"{HOSTILE} write of {item}", _text(cell, item, place))
        | {"kind": "generation", "log_likelihood": None, "is_greedy": None}
        for place, item in enumerate(item_ids)
    ]
    return pa.Table.from_pylist(rows, schema=RESPONSE_SCHEMA)


def _text(cell: dict[str, Any], item: str, place: int) -> str:
    who = cell["method"] if place % 2 else "anyone"
    return f"{HOSTILE} {who} on {item}"


def _row(
    cell: dict[str, Any], item: str, request: int, prompt: str, continuation: str
) -> dict[str, Any]:
    return {
        "cell_id": cell["cell_id"],
        "task": cell["task"],
        "item_id": item,
        "request": request,
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "prompt": prompt,
        "continuation": continuation,
    }
