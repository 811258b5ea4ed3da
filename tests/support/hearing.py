"""A listener that remembers what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steereval.common.activity import Activity
from steereval.ray_jobs.work import Outcome


@dataclass
class Hearing:
    """What an executor told."""

    outcomes: list[Outcome] = field(default_factory=list)
    begun: list[Any] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)

    def began(self, units: tuple[Any, ...], worker: str) -> None:
        self.begun += units
        self.workers.append(worker)

    def advanced(self, units: tuple[Any, ...], activity: Activity) -> None:
        self.activities.append(activity)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def units(self) -> list[Any]:
        """Every unit that is over, in the order in which it was told."""
        return [unit for outcome in self.outcomes for unit in outcome.units]
