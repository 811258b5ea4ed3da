"""Where downloads, activations and steerers are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """STEEREVAL_CACHE, else `steereval` in the user's cache folder (XDG_CACHE_HOME, ~/.cache)."""
    explicit = os.environ.get("STEEREVAL_CACHE")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "steereval"
