"""The cache folder of this machine, and paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "check_path", "expanded"]


def expanded(path: str) -> str:
    """`path` with a leading `~` or `~user` replaced by the home folder; other text as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 - a URI must stay as it is


def check_path(path: str | Path) -> str:
    """The remedy for a file that cannot be read: for a relative path it names the folder."""
    if Path(path).is_absolute():
        return "Check the path."
    return f"Check the path: it is relative to the current folder, {Path.cwd()}."


def cache_folder() -> Path:
    """STEEREVAL_CACHE, else XDG_CACHE_HOME/steereval, else ~/.cache/steereval."""
    if folder := os.environ.get("STEEREVAL_CACHE"):
        return Path(folder).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "steereval"
    return Path.home() / ".cache" / "steereval"
