"""A run as one file that someone else can check; the same run gives the same bytes.

NAME/HOW-TO-CHECK.md     what a reviewer does with it
NAME/...                 the run's files, the report too, but for retired cells
NAME/CHECKSUMS.sha256    a line for each file, as sha256sum writes them
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from steereval.common.activity import doing
from steereval.common.errors import InputError
from steereval.common.files import naming, replacing
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import OWN_TASKS, RunFolder

CHECKSUMS = "CHECKSUMS.sha256"
INSTRUCTIONS = "HOW-TO-CHECK.md"
TAR_ENDINGS = (".tar.gz", ".tgz")
ZIP_ENDING = ".zip"

_PARTS = (
    r"(manifest|progress|correct_answers)\.json",
    r"(cells|responses|answers|diagnosis)/[^/]+\.(json|parquet)",
    r"profile/[^/]+\.json",
    r"own_tasks/.+",
    r"report/(index\.html|report\.md|items\.jsonl|leaderboard\.(csv|md|tex|parquet))",
    r"report/figures/[^/]+\.(svg|png)",
)
BELONGS = re.compile("|".join(f"(?:{part})" for part in _PARTS))
"""Names of the files of a run. Notes, settings and data that lie next to them are not passed on."""

_Contents = Iterable[tuple[str, bytes]]
"""Names within the archive, and what the files hold."""


@doing("writing the archive")
def write_archive(run: RunFolder, out: Path) -> None:
    """Write `run` into the new file `out`, whose ending says in which format.

    Raises InputError for another ending or a file that is there already, and StoreError for a run
    that cannot be read, rows that no reader takes, or a place that cannot be written.
    """
    endings = (*TAR_ENDINGS, ZIP_ENDING)
    if not out.name.endswith(endings):
        raise InputError(
            f"{out} is not named as an archive is", f"End the name with {', '.join(endings)}."
        )
    if out.exists():
        raise InputError(f"{out} exists already", "Choose a name that does not.")
    manifest = run.read_manifest()
    for _ in run.iter_items():
        pass  # rows that no reader would take are not handed on
    root = _file_name(manifest.name)
    contents = ((f"{root}/{name}", data) for name, data in _contents(run, manifest))
    with naming(out), replacing(out) as temporary, temporary.open("xb") as file:
        (_write_zip if out.name.endswith(ZIP_ENDING) else _write_tar)(file, contents)


def check_sum_line(name: str, data: bytes) -> str:
    """A line of CHECKSUMS."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n"


def _contents(run: RunFolder, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Instructions, the run's files, and the sums of both."""
    lines = []
    instructions = {INSTRUCTIONS: _instructions(manifest)}
    files = run.files(frozenset(manifest.members))
    others = ((name, data) for name, data in files if BELONGS.fullmatch(name))
    for name, data in (*instructions.items(), *others):
        lines.append(check_sum_line(name, data))
        yield name, data
    yield CHECKSUMS, "".join(lines).encode()


def _write_tar(file: IO[bytes], contents: _Contents) -> None:
    """With one date, owner and mode for all, so that nothing but the contents decides the bytes."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in contents:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 0
            archive.addfile(entry, io.BytesIO(data))


def _write_zip(file: IO[bytes], contents: _Contents) -> None:
    """As `_write_tar`; the oldest date that the format knows."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)


def _own_tasks(manifest: Manifest) -> str:
    """Instructions for a reviewer about lm-eval tasks that came with the run; empty without any."""
    tasks: object = manifest.grid.get("tasks")
    listed = tasks if isinstance(tasks, list) else []
    hashes = dict.fromkeys(
        task["include_hash"]
        for task in listed
        if isinstance(task, dict) and isinstance(task.get("include_hash"), str)
    )
    folders = ", ".join(f"`{OWN_TASKS}/{each}`" for each in hashes if each)
    if not folders:
        return ""
    return (
        f"Tasks of the run's own are in {folders}. Their Python code is executed only with\n"
        "`--include-path FOLDER` in step 4 and `steereval rescore`: read it before.\n\n"
    )


def _file_name(name: str) -> str:
    """A run's name as that of a folder on any system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "run"


def _instructions(manifest: Manifest) -> bytes:
    # A local part such as `+cpu` names a build that package indexes do not list.
    releases = {name: each.partition("+")[0] for name, each in manifest.versions.items()}
    program = f"steereval {releases.pop('steereval', 'of the same version')}"
    packages = " ".join(f'"{name}=={version}"' for name, version in releases.items())
    models = ", ".join(dict.fromkeys(cell.model for cell in manifest.cells)) or "see the grid"
    text = f"""# How to check this run

The folder is a run of steereval, “{manifest.name}”,
planned {manifest.created or "at a time that was not recorded"}: its plan (`manifest.json`),
every item's score (`cells/`), every request and answer (`responses/`) and the report
(`report/index.html`).

1. Nothing was lost on the way: `sha256sum --check {CHECKSUMS}` in this folder.
2. The same program: {program}, installed from its repository with Python 3.11 or later
   (`pip install .` there), and the versions of its packages that the run used:
   `pip install {packages}`.
   With other versions, add `--other-versions` below.
3. Files, ids, versions, and the report's figures computed again from the rows; no model is needed:
   `steereval verify .`
4. Some cells run again and compared item by item: `steereval verify . --cells 3`.
   This needs the models ({models}), the tasks' data, and the files that the grid names by path.

{_own_tasks(manifest)}\
The rows answer other questions too: `steereval query . "select task, metric, method, strength,
avg(value) from rows group by all"`, or pandas, polars and DuckDB on `cells/*.parquet`.
"""
    return text.encode()
