"""A process that is killed at its n-th change of a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from steereval.results.store.storage import LocalStorage, RemoteStorage


class Killed(BaseException):
    """As a kill does, it passes every `except Exception`."""


@contextmanager
def killed_at(change: int, midway: bool = False) -> Iterator[None]:
    """Let the change with this number, from 0, and all after it raise Killed.

    `midway`: a move is killed between its copy and its deletion, as in an object store.
    """
    left = change

    def dying(method: Any, is_move: bool) -> Any:
        def change(self: Any, name: str, *more: Any) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                method(self, name, *more)
                return
            if is_move and midway and left == -1:
                data = self.read(name)
                assert data is not None
                write(self, more[0], data)
            raise Killed

        write = writes[type_of]
        return change

    writes = {kind: kind.write for kind in (LocalStorage, RemoteStorage)}
    with pytest.MonkeyPatch.context() as patch:
        for type_of in (LocalStorage, RemoteStorage):
            for name in ("write", "remove", "move"):
                patch.setattr(type_of, name, dying(getattr(type_of, name), name == "move"))
        yield
