"""Handing on what one worker made through Ray's object store.

An actor knows what has been made, and who is making what; the bytes themselves are objects of the
store, which moves them between nodes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from steereval.ray_jobs.sharing import Packed


class _Exchange:
    """Keeps references to what was made."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._makers: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def claim(self, key: str, worker: int) -> list[Any] | None:
        """A list that holds a reference, so that it is not resolved here; None: make it."""
        async with self._changed:
            await self._changed.wait_for(lambda: key in self._made or key not in self._makers)
            if key in self._made:
                return [self._made[key]]
            self._makers[key] = worker
            return None

    async def offer(self, key: str, packed: Packed) -> None:
        """Put it into the store anew: an object goes when the process that put it ends."""
        async with self._changed:
            self._made[key] = ray.put(packed)
            self._makers.pop(key, None)
            self._changed.notify_all()

    async def forget(self, worker: int) -> None:
        """Whatever `worker` was making is for another to make."""
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

    @classmethod
    def opened(cls) -> Exchange:
        """A new one, which ends with this process; to be handed to workers by `of`."""
        return cls(ray.remote(_Exchange).options(num_cpus=0, max_restarts=-1).remote())

    def of(self, worker: int) -> Exchange:
        """The same for one worker."""
        return Exchange(self.actor, worker)

    def claim(self, key: str) -> Packed | None:
        """See `Sharing`."""
        try:
            found = ray.get(self.actor.claim.remote(key, self.worker))
            packed: Packed | None = None if found is None else ray.get(found[0])
        except RayError:
            return None
        return packed

    def offer(self, key: str, packed: Packed) -> None:
        """See `Sharing`. Waits until it has arrived: this process may end right afterwards."""
        with suppress(RayError):
            ray.get(self.actor.offer.remote(key, packed))

    def give_up(self) -> None:
        """See `Sharing`; also for a worker that is gone."""
        self.actor.forget.remote(self.worker)

    def close(self) -> None:
        """End the actor."""
        ray.kill(self.actor)
