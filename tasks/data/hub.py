"""Reaching the data set hub without hanging when there is none."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from steereval.common.errors import TaskError
from steereval.common.text import first_line

REACH_SECONDS = 5.0
"""How long the hub may take to answer before it counts as out of reach."""

_reached = threading.Event()


@contextmanager
def quick_hub() -> Iterator[None]:
    """Within this block, data sets come from the hub if it answers, else from the local cache only.

    Left alone, the hub's client retries for about half a minute per data set on a machine without
    a network. The offline setting is put back at the end of the block; it is one per process, so
    another thread that loads from the hub meanwhile sees it too.
    """
    if hub_in_reach():
        yield
        return
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def load_from_hub(path: str, configuration: str, remedy: str) -> Any:
    """The `datasets.DatasetDict` of a configuration of a data set on the hub, or in its cache.

    Raises TaskError with `remedy` when neither has it.
    """
    import datasets

    with _refusals(path, configuration, remedy), quick_hub():
        return datasets.load_dataset(path, configuration)


def load_files_from_hub(path: str, pattern: str, remedy: str) -> list[dict[str, Any]]:
    """The rows of the files of a data set on the hub, or in its cache, that match `pattern`.

    No other file is downloaded. Raises TaskError with `remedy` when neither has them.
    """
    import datasets

    with _refusals(path, pattern, remedy), quick_hub():
        loaded = datasets.load_dataset(path, data_files={"rows": pattern}, split="rows")
        rows: list[dict[str, Any]] = loaded.to_list()
        return rows


@contextmanager
def _refusals(path: str, part: str, remedy: str) -> Iterator[None]:
    """Turn what the hub's client raises into a TaskError."""
    import datasets

    try:
        yield
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise TaskError(
            f"the data set {path!r} ({part}) is not available from the hub: {first_line(error)}",
            remedy,
        ) from error


def hub_in_reach() -> bool:
    """Whether the hub answers within a few seconds (through a proxy, if one is set).

    The offline settings of its client (HF_HUB_OFFLINE, HF_DATASETS_OFFLINE) count as out of
    reach. A hub once reached is not asked again in this process.
    """
    import datasets

    if datasets.config.HF_HUB_OFFLINE:
        return False
    if not _reached.is_set():
        # In a thread, because the time limit of a request does not bound looking up the name.
        asking = threading.Thread(target=ask_hub, daemon=True)
        asking.start()
        asking.join(REACH_SECONDS)
    return _reached.is_set()


def ask_hub() -> None:
    """Note whether the hub answers."""
    from huggingface_hub import constants

    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        _reached.set()  # any answer, a refusal too, comes from a hub that is there
    except (OSError, http.client.HTTPException):
        return
    else:
        _reached.set()
