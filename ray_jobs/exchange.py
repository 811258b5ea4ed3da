"""Handing on what one worker made through Ray's object store.

An actor lists finished items, and the workers on unfinished ones; the bytes are objects of the
store, which moves them between nodes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from steereval.ray_jobs.sharing import Packed

BEAT = 2.0
"""Seconds after which a worker that makes something says that it still does."""
SILENCE = 15.0
"""Seconds after which a worker that has not said so counts as gone: Ray takes longer to notice that
a node is."""


class _Exchange:
    """Keeps references to what was made."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._made: dict[str, Any] = {}
        self._makers: dict[str, int] = {}
        self._heard: dict[int, float] = {}
        self._changed = asyncio.Condition()

    async def claim(self, key: str, worker: int) -> list[Any] | None:
        """A list that holds a reference, so that it is not resolved here; None: make it."""
        async with self._changed:
            while key not in self._made and self._is_being_made(key):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), BEAT)
            if key in self._made:
                return [self._made[key]]
            self._makers[key] = worker
            self._heard[worker] = time.monotonic()
            return None

    def _is_being_made(self, key: str) -> bool:
        maker = self._makers.get(key)
        return maker is not None and time.monotonic() - self._heard[maker] < self._silence

    async def beat(self, worker: int) -> None:
        """`worker` is still making."""
        self._heard[worker] = time.monotonic()

    async def offer(self, key: str, packed: Packed) -> None:
        """Put it into the store again: an object goes when the process that put it ends."""
        async with self._changed:
            self._made[key] = ray.put(packed)
            self._makers.pop(key, None)
            self._changed.notify_all()

    async def forget(self, worker: int) -> None:
        """Give the unfinished items of `worker` to others."""
        async with self._changed:
            self._makers = {key: of for key, of in self._makers.items() if of != worker}
            self._changed.notify_all()


@dataclass(frozen=True)
class Exchange:
    """A worker's way to the actor; where that is gone, every worker makes its own."""

    actor: Any
    """Ray's handle."""
    worker: int = 0
    """Who asks."""
    _beats: list[threading.Event] = field(default_factory=list)
    """Events that stop this worker's heartbeats; empty if it makes nothing."""

    @classmethod
    def opened(cls, silence: float = SILENCE) -> Exchange:
        """A new one, which ends with this process; to be handed to workers by `of`."""
        # With the driver, which a run does not outlive: other nodes may go at any moment.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
        return cls(ray.remote(_Exchange).options(**options).remote(silence))

    def of(self, worker: int) -> Exchange:
        """The same for one worker."""
        return Exchange(self.actor, worker)

    def claim(self, key: str) -> Packed | None:
        """See `Sharing`."""
        try:
            offer = ray.get(self.actor.claim.remote(key, self.worker))
            packed: Packed | None = None if offer is None else ray.get(offer[0])
        except RayError:
            return None
        if packed is None:
            made = threading.Event()
            self._beats.append(made)
            threading.Thread(target=self._beat, args=(made,), daemon=True).start()
        return packed

    def _beat(self, made: threading.Event) -> None:
        while not made.wait(BEAT):
            self.actor.beat.remote(self.worker)

    def _still(self) -> None:
        """No beats any more."""
        while self._beats:
            self._beats.pop().set()

    def offer(self, key: str, packed: Packed) -> None:
        """See `Sharing`. Waits until it has arrived: this process may end right afterwards."""
        self._still()
        with suppress(RayError):
            ray.get(self.actor.offer.remote(key, packed))

    def give_up(self) -> None:
        """See `Sharing`; also for a worker that is gone."""
        self._still()
        self.actor.forget.remote(self.worker)

    def close(self) -> None:
        """End the actor."""
        ray.kill(self.actor)
