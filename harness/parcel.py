"""The import package as one folder, to be sent to machines that do not have it.

Installed normally it is one folder already; an editable installation has its parts elsewhere.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from steereval.cache import cache_folder
from steereval.results.whole_folder import publish_folder

NAME = "steereval"
PARTS = ("models", "ray_jobs", "results", "tasks")


def package_folder() -> Path:
    """A folder called `steereval` that holds the package and nothing else, in the cache, in a
    folder whose name its contents decide. Raises StoreError."""
    # Read once, so that the name fits what is written even if a file is edited meanwhile.
    files = {name: path.read_bytes() for name, path in sorted(_files().items())}
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
    target = cache_folder() / "parcels" / digest.hexdigest()[:32]

    def build(fresh: Path) -> None:
        for name, data in files.items():
            copy = fresh / NAME / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)

    publish_folder(target, build, digest.hexdigest())
    return target / NAME


def _files() -> dict[str, Path]:
    """Every file of the package by its name in it."""
    found = {}
    for part in ("", *PARTS):
        folder = _folder(f"{NAME}.{part}" if part else NAME)
        for path in folder.rglob("*"):
            name = (Path(part) / path.relative_to(folder)).as_posix()
            if path.is_file() and "__pycache__" not in path.parts:
                found[name] = path
    return found


def _folder(module: str) -> Path:
    spec = find_spec(module)
    origin = spec.origin if spec else None
    assert origin is not None, f"{module} is not installed"
    return Path(origin).parent
