"""The id of a cell: a hash of all that decides what is in it, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steereval.common.text import short_hash


def id_of(identity: Mapping[str, Any]) -> str:
    """Hash of plain values, whatever the order of their keys: 16 hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return short_hash(text)
