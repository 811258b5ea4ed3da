"""The import package as one folder, to be sent to machines that do not have it.

An editable install imports the package through links to the folders of the checkout; the snapshot
holds copies of the files.
"""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from steereval.common.folders import publish_folder
from steereval.common.paths import cache_folder

NAME = "steereval"


def package_folder() -> Path:
    """A folder called `steereval` that holds the package and nothing else, in the cache, in a
    folder whose name its contents decide. Raises StoreError."""
    # Read once, so that the name fits what is written even if a file is edited meanwhile.
    files = {name: path.read_bytes() for name, path in sorted(package_files().items())}
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
    target = cache_folder() / "package-snapshots" / digest.hexdigest()[:32]

    def build(fresh: Path) -> None:
        for name, data in files.items():
            copy = fresh / NAME / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)

    publish_folder(target, build, digest.hexdigest())
    return target / NAME


SUFFIXES = frozenset(
    {".py", ".typed", ".yaml", ".jsonl", ".md", ".sh", ".html", ".css", ".js", ".j2"}
)
"""Kinds of files of the package: its modules, and `package-data` in pyproject.toml."""


def package_files() -> dict[str, Path]:
    """Every file of the package, by its path inside the package.

    Hidden files, files of other kinds, links to files and the contents of run folders stay here: a
    checkout may hold them.
    """
    spec = find_spec(NAME)
    origin = spec.origin if spec else None
    assert origin is not None, f"{NAME} is not installed"
    root, files = Path(origin).parent, {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [each for each in folders if _is_subpackage(Path(folder, each), root)]
        for name in names:
            path = Path(folder, name)
            if path.suffix in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                files[path.relative_to(root).as_posix()] = path
    return files


def _is_subpackage(folder: Path, root: Path) -> bool:
    """Whether a folder belongs to the package; the rooms of a checkout are links next to `root`'s
    modules."""
    if folder.name.startswith(".") or folder.name == "__pycache__":
        return False
    if folder.is_symlink() and folder.parent != root:
        return False
    return not (folder / "manifest.json").exists()
