"""The import package as one folder, to be sent to machines that do not have it.

Installed normally it is one folder already; an editable installation has its parts elsewhere.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path

from steereval.cache import cache_folder

NAME = "steereval"
PARTS = ("models", "ray_jobs", "results", "tasks")


def package_folder() -> Path:
    """A folder called `steereval` that holds the package and nothing else, in the cache, under a
    name that its contents decide."""
    files = dict(sorted(_files().items()))
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    target = cache_folder() / "parcels" / digest.hexdigest()[:16] / NAME
    if not target.exists():
        fresh = target.parent.with_name(f".tmp-{target.parent.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        for name, path in files.items():
            copy = fresh / NAME / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        fresh.rename(target.parent)
    return target


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
