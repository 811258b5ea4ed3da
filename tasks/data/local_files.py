"""Where downloaded files are kept, and where a user's own copies of public data sets lie."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from steereval.common.errors import TaskError
from steereval.common.paths import cache_folder, expanded
from steereval.common.reading import parse_json

CONTENTS = ".contents.json"
"""Says in the folder of an asset what its files are."""


def cached_file(asset: str, file_name: str, task: str) -> Path:
    """The file `file_name` of a downloaded `asset` that `task` needs.

    Raises TaskError, naming the command that fetches it, when it is not there.
    """
    path = cache_folder() / asset / file_name
    remedy = f"Fetch it with: steereval tasks fetch {task}"
    if not path.is_file():
        raise TaskError(f"task {task!r} needs the file {path}, which is not there", remedy)
    if not _is_as_fetched(path):
        raise TaskError(f"the file {path}, which task {task!r} needs, is damaged", remedy)
    return path


def _is_as_fetched(path: Path) -> bool:
    """Whether a file has the hash noted in its folder; true without a note."""
    try:
        known = parse_json((path.parent / CONTENTS).read_bytes())["files"][path.name]["sha256"]
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    with path.open("rb") as file:
        return bool(hashlib.file_digest(file, "sha256").hexdigest() == known)


def data_folder(given: Path | None) -> Path | None:
    """The folder that holds public data sets: the one given, else STEEREVAL_DATA, else None."""
    if given is not None:
        return Path(expanded(str(given)))
    named = os.environ.get("STEEREVAL_DATA")
    return Path(expanded(named)) if named else None
