"""Events that reach a schedule, and the instructions that it returns."""

from __future__ import annotations

from dataclasses import dataclass

from steereval.ray_jobs.work import Work


@dataclass(frozen=True)
class NodeJoined:
    """A node can hold workers of sizes up to `capacity` in all."""

    node: str
    capacity: float


@dataclass(frozen=True)
class NodeLost:
    """A node was lost, with its workers."""

    node: str


@dataclass(frozen=True)
class Finished:
    """A worker came through its work; the units with indices `again` should be tried elsewhere."""

    worker: int
    again: tuple[int, ...] = ()


@dataclass(frozen=True)
class Died:
    """A worker is gone, and what it was doing with it. One that never `ran` says nothing of its
    work, but something of its node."""

    worker: int
    reason: str
    ran: bool = True


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = NodeJoined | NodeLost | Finished | Died | Tick


@dataclass(frozen=True)
class Open:
    """Start a worker on a node."""

    worker: int
    node: str
    size: float


@dataclass(frozen=True)
class Give:
    """Let a worker do work; `last` says that it is not tried again elsewhere."""

    worker: int
    work: Work
    last: bool


@dataclass(frozen=True)
class Close:
    """End a worker, even while it works."""

    worker: int


@dataclass(frozen=True)
class GiveUp:
    """Record that the units of `work` failed."""

    work: Work
    reason: str


Instruction = Open | Give | Close | GiveUp
