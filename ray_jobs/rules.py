"""Limits that a schedule keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """Limits that a schedule keeps."""

    retries: int = 2
    """How often work is given to another worker after its own died; a run takes the number from its
    grid (`RunSpec` in harness/config/specs.py)."""
    straggler_factor: float = 3.0
    """Work that takes this many times what was expected is late."""
    min_split_saving_s: float = 600.0
    """Seconds that cutting work must save."""
    deadline_slack: float = 1.06
    """How far beyond the deadline work may end before it is worth loading once more."""
    placement: float = 600.0
    """Seconds for which work that no node has room for waits for another node."""
    starts: int = 12
    """How often starting a worker for the same work may fail."""
    node_cooldown_s: float = 10.0
    """Seconds for which a node is left alone where a worker could not be started."""
