"""A worker in a process of its own: a long-lived Ray actor, one for each model replica."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from steereval.common.activity import Activity, begin_work, current
from steereval.ray_jobs.exchange import Exchange
from steereval.ray_jobs.sharing import share_through
from steereval.ray_jobs.work import Done, Worker, WorkerFactory

LAUNCHER_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "ROLE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""Left behind by launchers; a worker that saw them would wait for ranks that do not exist."""


class _Actor:
    """Holds one worker."""

    def __init__(self, factory: WorkerFactory, exchange: Exchange) -> None:
        share_through(exchange)
        for name in LAUNCHER_VARIABLES:
            os.environ.pop(name, None)
        self._factory = factory
        self._worker: Worker | None = None

    def ready(self) -> None:
        """Return once the process runs."""

    def run(self, units: tuple[Any, ...], last: bool) -> tuple[float, Done]:
        """Do one piece; returns the seconds it took, and what the worker returned."""
        start = time.perf_counter()
        # Made here, so that an error in making it is reported as such, not as a lost worker.
        self._worker = self._worker or self._factory()
        begin_work()
        done = self._worker.run(units, last)
        return time.perf_counter() - start, done

    @ray.method(concurrency_group="watch")  # type: ignore[untyped-decorator]
    def activity(self) -> Activity:
        """The worker's activity; answered while it works."""
        return current()


@dataclass
class ActorHandle:
    """An actor that was asked for."""

    actor: Any
    """Ray's handle."""
    ready: Any
    """Resolved once its process runs."""
    node: str
    """Where it is."""
    up: bool = False
    """Whether it was seen to run."""

    @property
    def name(self) -> str:
        """Names its node."""
        return f"node {self.node[:8]}"

    def end(self) -> None:
        """Kill it, even while it works."""
        ray.kill(self.actor)


def spawn(
    factory: Any, node: str, gpus: float, threads: int, exchange: Exchange
) -> ActorHandle:  # fmt: skip
    """Ask for an actor on `node` with a share of a GPU, or with several; `factory` may be Ray's
    reference to it. `threads` are its share of the node's cores."""
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    # Work runs on a thread of its own, for which glibc would cut memory in pieces of 64 MiB.
    environment["MALLOC_ARENA_MAX"] = "1"
    actor = (
        ray.remote(concurrency_groups={"watch": 1})(_Actor)
        .options(
            num_cpus=0,
            num_gpus=gpus,
            max_restarts=0,
            runtime_env={"env_vars": environment},
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(factory, exchange)
    )
    return ActorHandle(actor, actor.ready.remote(), node)
