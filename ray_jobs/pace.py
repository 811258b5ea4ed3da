"""Seconds that work takes, expected from the work that was finished so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Relates costs, which have no unit, to seconds."""

    spent: float = 0.0
    """Seconds of the work that was finished."""
    finished: float = 0.0
    """Its cost."""

    def add(self, seconds: float, cost: float) -> None:
        """Count work that was finished."""
        self.spent += seconds
        self.finished += cost

    @property
    def known(self) -> bool:
        """Whether any work of a cost was finished."""
        return self.finished > 0

    def seconds(self, cost: float) -> float:
        """Expected seconds of a cost; before any work is finished, costs count as seconds."""
        # A clock may see no time pass, or next to none, which says nothing of a rate.
        rate = self.spent / self.finished if self.finished else 0.0
        return cost * (rate or 1.0)
