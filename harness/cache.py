"""Where downloads, activations and hashes are kept on this machine, and paths as users write them.

The cache folder is the one of `steereval.tasks.cache`, which may not know this module.
"""

from __future__ import annotations

import os

from steereval.tasks.cache import cache_folder

__all__ = ["cache_folder", "expanded"]


def expanded(path: str) -> str:
    """`path` with a leading `~` or `~user` replaced by the home folder; other text as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 - a URI must stay as it is
