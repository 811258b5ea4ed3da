"""A user's own folder of lm-eval tasks (`include_path`), as files that travel by their content.

A run reads the folder once. Every process that loads its tasks, on this machine or another, does so
from a copy in the cache folder that is named after the hash of the files: an edit meanwhile changes
nothing, and a node that lacks the folder is sent the files. The Python files of such a folder are
executed when its tasks are loaded, as by lm-eval itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from steereval.common.errors import InputError, TaskError
from steereval.common.folders import is_whole, publish_folder
from steereval.common.paths import cache_folder, expanded

MOST_FILES: Final = 5_000
"""Most files of a folder."""
MOST_BYTES: Final = 64 << 20
"""Most bytes of a folder's files together: they are sent to every worker."""
_DATA_KEYS: Final = ("data_files", "data_dir")
"""Keys of a task's `dataset_kwargs` whose texts are paths of data; so is a `dataset_path` with a
slash."""
_HASH: Final = re.compile(r"[0-9a-f]{32}")
_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class IncludedFiles:
    """The files of an `include_path`, without the folder they come from."""

    files: Mapping[str, bytes]
    """{path within the folder: content}; paths of data in YAML files are relative to the file."""

    @cached_property
    def content_hash(self) -> str:
        """Hash of names and contents: 32 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            digest.update(b"%d\0%s\0%d\0%s" % (len(name), name.encode(), len(data), data))
        return digest.hexdigest()[:32]

    def publish(self) -> Path:
        """Have the files in the cache folder.

        Returns:
            Their folder, in which task files name their data by full paths, since lm-eval takes
            relative ones from the current folder.

        Raises:
            StoreError: The cache folder cannot be written to.
        """
        target = _published(self.content_hash)

        def build(fresh: Path) -> None:
            for name, data in self.files.items():
                copy = fresh / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(_with_full_paths(name, data, target, self.files))

        publish_folder(target, build, self.content_hash)
        return target


def read_included(folder: Path, leave_out: Path | None = None) -> IncludedFiles:
    """Read a folder of tasks.

    Hidden files, `__pycache__` and run folders are left out.

    Args:
        folder: The folder.
        leave_out: A file that is not part of it, such as the grid file.

    Returns:
        Its files.

    Raises:
        InputError: It is no folder, cannot be read, or is larger than MOST_FILES or MOST_BYTES.
        TaskError: A YAML file in it cannot be parsed.
    """
    if not folder.is_dir():
        raise InputError(f"the folder {folder} of include_path does not exist", "Check the path.")
    root, files, total = folder.resolve(), dict[str, bytes](), 0
    for path in _paths(root):
        if leave_out is not None and path.samefile(leave_out):
            continue
        total += path.stat().st_size
        if len(files) >= MOST_FILES or total > MOST_BYTES:
            raise InputError(
                f"the folder {folder} of include_path holds more than {MOST_FILES} files or "
                f"{MOST_BYTES >> 20} MiB",
                "Give a folder that holds tasks alone, and name large data by a full path.",
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"the file {path} of include_path cannot be read: {error.strerror}",
                "Check its rights.",
            ) from error
        files[path.relative_to(root).as_posix()] = data
    return IncludedFiles(
        {name: _with_relative_paths(name, data, root) for name, data in files.items()}
    )


def check_names(files: IncludedFiles) -> None:
    """Check that no two files define a task or group of the same name: lm-eval takes the first.

    Raises:
        TaskError: Two do.
    """
    definitions: dict[str, str] = {}
    for file, data in sorted(files.files.items()):
        name = _name_in(data) if file.endswith(".yaml") else None
        if name is not None and name in definitions:
            raise TaskError(
                f"the files {definitions[name]} and {file} of include_path both define {name!r}",
                "Rename one, or move it out of the folder.",
            )
        if name is not None:
            definitions[name] = file


def _name_in(data: bytes) -> str | None:
    """The name of the task or group that a YAML file defines."""
    root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    names = {
        key.value: value.value
        for key, value in pairs
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }
    name = names.get("task", names.get("group"))
    return None if name is None else str(name)


def included_folder(content_hash: str) -> Path:
    """The published folder of the files with that hash.

    Raises:
        TaskError: This machine does not hold them.
    """
    folder = _published(content_hash)
    # A hash from somebody else's run must not lead to code in another folder.
    if not _HASH.fullmatch(content_hash) or not is_whole(folder, content_hash):
        raise TaskError(
            f"the run's own tasks (include_hash {content_hash}) are not on this machine",
            "Give their folder with --include-path: the run folder keeps a copy in own_tasks/. "
            "Read its Python files first, since they are executed.",
        )
    return folder


def included_files(content_hash: str) -> IncludedFiles:
    """The published files with that hash. Raises TaskError as `included_folder`."""
    return read_included(included_folder(content_hash))


def _published(content_hash: str) -> Path:
    return cache_folder() / "included-tasks" / content_hash


def _paths(root: Path) -> Iterator[Path]:
    """The files below a folder in the order of their names, links that lead outside refused."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(each for each in folders if not _is_left_out(here / each))
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or not path.is_file():
                continue
            if not path.resolve().is_relative_to(root):
                raise InputError(
                    f"the link {path} leads out of the folder of include_path",
                    "Put a copy of the file in its place.",
                )
            yield path


def _is_left_out(folder: Path) -> bool:
    is_run = (folder / "manifest.json").is_file() and (folder / "cells").is_dir()
    return folder.name.startswith(".") or folder.name == "__pycache__" or is_run


def _with_relative_paths(name: str, data: bytes, root: Path) -> bytes:
    """A file whose paths of data within the folder are relative to the file."""
    here = (root / name).parent

    def relative(text: str) -> str | None:
        path = Path(expanded(text))
        for base in (here, root, root.parent, Path.cwd()):
            target = (base / path).resolve()
            if _exists(target) and target.is_relative_to(root):
                return os.path.relpath(target, here)
        if not path.is_absolute() and path.suffix and _exists(path):
            raise TaskError(
                f"the task file {root / name} reads {text}, which lies outside of include_path",
                "Move it into the folder, or give a full path that every node has.",
            )
        return None

    return _rewritten(name, data, relative)


def _with_full_paths(name: str, data: bytes, target: Path, files: Mapping[str, bytes]) -> bytes:
    """A file whose relative paths of data are full ones below `target`."""
    folders = {parent.as_posix() for each in files for parent in PurePosixPath(each).parents}

    def full(text: str) -> str | None:
        within = os.path.normpath((PurePosixPath(name).parent / text).as_posix())
        known = within in files or within in folders - {"."}
        has_wildcard = any(PurePosixPath(each).match(within) for each in files)
        return str(target / within) if known or has_wildcard else None

    return _rewritten(name, data, full)


def _exists(path: Path) -> bool:
    """Whether there is a file or folder, or one that the pattern `path` matches."""
    if "*" in path.name:
        return any(path.parent.glob(path.name))
    return path.exists()


def _rewritten(name: str, data: bytes, change: Callable[[str], str | None]) -> bytes:
    """A YAML file with other paths of data, where `change` gives one; other files as they are."""
    if not name.endswith(_YAML):
        return data
    try:
        text = data.decode("utf-8")
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise TaskError(
            f"the task file {name} of include_path is not valid YAML{line}",
            "Correct the line, or move the file out of the folder.",
        ) from error
    scalars = {scalar.start_mark.index: scalar for scalar in _paths_of_data(document)}
    for start, scalar in sorted(scalars.items(), reverse=True):
        changed = change(scalar.value)
        if changed is not None:
            written = text[start : scalar.end_mark.index]
            space = written[len(written.rstrip()) :]
            rest = text[scalar.end_mark.index :]
            text = f"{text[:start]}{json.dumps(changed, ensure_ascii=False)}{space}{rest}"
    return text.encode("utf-8")


def _paths_of_data(document: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """The texts of a task's file that are paths of data, in groups too."""
    waiting: list[yaml.Node] = [] if document is None else [document]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        # What an alias repeats is one node, however often it stands there.
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name in _DATA_KEYS or name == "dataset_path":
                    yield from _texts(value, needs_slash=name == "dataset_path")
                else:
                    waiting.append(value)


def _texts(node: yaml.Node, needs_slash: bool) -> Iterator[yaml.ScalarNode]:
    """The texts at a key of data: one, a list, or lists by split."""
    parts = [node]
    if isinstance(node, yaml.MappingNode):
        parts = [value for _, value in node.value]
    for part in parts:
        for text in part.value if isinstance(part, yaml.SequenceNode) else [part]:
            if not isinstance(text, yaml.ScalarNode) or text.tag != "tag:yaml.org,2002:str":
                continue
            if text.value and ("/" in text.value or not needs_slash):
                yield text
