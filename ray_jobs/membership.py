"""Joining a Ray, or starting one for as long as it is needed, and what its nodes can hold."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from steereval.common.errors import InputError

LOCAL = "local"
"""The address of a Ray that is started for one run."""
JOB_ENVIRONMENT = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set where this process is a job's driver: its runtime environment goes to all its workers."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    """Ray's own."""
    cpus: float
    """Cores."""
    gpus: float
    """GPUs."""


class Membership:
    """Being part of a Ray, which is joined in the background so that other work goes on meanwhile.

    A thread holds it to the end: the kernel ends what a Ray consists of with the thread that
    started it.
    """

    def __init__(self, address: str, package: Path | None) -> None:
        """Begin to join the Ray at `address`, as `joined` does."""
        self._joined: Future[None] = Future()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(address, package), daemon=True)
        self._thread.start()

    def _hold(self, address: str, package: Path | None) -> None:
        try:
            with joined(address, package):
                self._joined.set_result(None)
                self._over.wait()
        except Exception as error:  # noqa: BLE001 - `wait` raises it
            if not self._joined.done():
                self._joined.set_exception(error)

    def wait(self) -> None:
        """Return once this process is a part of it. Raises what `joined` raises."""
        self._joined.result()
        _take_back(signal.SIGTERM)

    def end(self) -> None:
        """Leave it; one that was started for this is over then."""
        self._over.set()
        self._thread.join()


def _take_back(number: signal.Signals) -> None:
    """Give a signal back to Python's handler: Ray's prints a stack and aborts 3 seconds later."""
    handler = signal.getsignal(number)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


@contextmanager
def joined(address: str, package: Path | None) -> Iterator[None]:
    """Be part of a Ray: of one that this process has joined before, of that at `address`, or of
    one started on this machine for as long (`local`). A cluster that was joined is left running.

    `package` is a folder that holds the import package; it is sent to a cluster's workers.
    Raises InputError where nothing answers at `address`.
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    # It warns where it leaves signals to their handlers, as it does outside the main thread.
    logging.getLogger("ray._private.worker").setLevel(logging.ERROR)
    if address == LOCAL:
        ray.init(address=LOCAL, include_dashboard=False, **quiet)
    else:
        _join(address, package, quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str, package: Path | None, quiet: dict[str, Any]) -> None:
    sent = package is not None and JOB_ENVIRONMENT not in os.environ
    environment = {"py_modules": [str(package)]} if sent else {}
    try:
        _knock(address)
        ray.init(address=address, runtime_env=environment, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray answers at {address}: {str(error).strip().splitlines()[0]}",
            "Start one with `ray start --head`, set RAY_AUTH_MODE=token if it asks for a token, or "
            "use `--address local`.",
        ) from error


def _knock(address: str) -> None:
    """OSError unless something listens there: Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def nodes() -> dict[str, Node]:
    """The machines that are alive now, by id."""
    by_id = {}
    for each in ray.nodes():
        if each["Alive"]:
            resources = each["Resources"]
            node = Node(each["NodeID"], resources.get("CPU", 0.0), resources.get("GPU", 0.0))
            by_id[node.id] = node
    return by_id
