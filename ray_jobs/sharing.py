"""What several workers need and one of them makes for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

Made = TypeVar("Made")
Packed = Mapping[str, bytes]
"""What travels: bytes by name."""


class Sharing(Protocol):
    """How the workers of a run hand on what one of them made."""

    def claim(self, key: str) -> Packed | None:
        """What another worker made for `key`, waiting for it if need be; None: this worker is to
        make it, and says so by `offer` or `give_up`."""
        ...

    def offer(self, key: str, packed: Packed) -> None:
        """Hand on what was claimed."""
        ...

    def give_up(self) -> None:
        """Leave to another what was claimed and not offered."""
        ...


_sharing: Sharing | None = None


def share_through(sharing: Sharing | None) -> None:
    """Let this process, which is one worker, take part; None: it is alone."""
    global _sharing
    _sharing = sharing


def once(
    key: str,
    make: Callable[[], Made],
    pack: Callable[[Made], Packed],
    unpack: Callable[[Packed], Made],
) -> Made:
    """What `make` makes, here or in the worker of this run that asked for `key` first.

    `key` must say all that decides it. Raises what `make` raises; another worker tries then.
    """
    if _sharing is None:
        return make()
    packed = _sharing.claim(key)
    if packed is not None:
        return unpack(packed)
    try:
        made = make()
        _sharing.offer(key, pack(made))
    except BaseException:
        _sharing.give_up()
        raise
    return made
