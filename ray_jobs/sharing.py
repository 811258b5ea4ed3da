"""Results that several workers need and one of them makes for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

Made = TypeVar("Made")
Packed = Mapping[str, bytes]
"""A result packed for transfer: bytes by name."""


class Sharing(Protocol):
    """How the workers of a run hand on what one of them made."""

    def claim(self, key: str) -> Packed | None:
        """The result of another worker for `key`, waiting for it if need be.

        None: this worker makes it, and then calls `offer` or `give_up`.
        """
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
    """The result of `make`, made here or in the worker of this run that claimed `key` first.

    `key` must name all that decides it. Raises the errors of `make`; another worker tries then.
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
