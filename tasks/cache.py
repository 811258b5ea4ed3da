"""Where downloaded files are kept, and where a user's own copies of public data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from steereval.errors import TaskError


def cache_folder() -> Path:
    """STEEREVAL_CACHE, else XDG_CACHE_HOME/steereval, else ~/.cache/steereval."""
    if own := os.environ.get("STEEREVAL_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "steereval"
    return Path.home() / ".cache" / "steereval"


def cached_file(asset: str, file_name: str, task: str) -> Path:
    """The file `file_name` of a downloaded `asset` that `task` needs.

    Raises TaskError, naming the command that fetches it, when it is not there.
    """
    path = cache_folder() / asset / file_name
    if not path.is_file():
        raise TaskError(
            f"task {task!r} needs the file {path}, which is not there",
            f"Fetch it with: steereval tasks fetch {task}",
        )
    return path


def data_folder(given: Path | None) -> Path | None:
    """The folder that holds public data sets: the one given, else STEEREVAL_DATA, else None."""
    if given is not None:
        return given.expanduser()
    named = os.environ.get("STEEREVAL_DATA")
    return Path(named).expanduser() if named else None
