"""Cells that a run's grid no longer has: set apart, and used again when the grid asks for them.

    RUN/retired/cells/..., RUN/retired/responses/...    as in the run itself

`RUN/cells/*.parquet` is for anyone to read, so it holds the run's cells alone. The manifest decides
which these are. Cells leave before a new manifest is written and come back after it, each with its
record first when it leaves and last when it comes: a kill at any moment leaves a cell whole in one
of the two folders, or in two parts that `settle` joins again, and no reader counts a cell that the
manifest of that moment lacks. Only the driver of the folder (`lease`) moves cells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from steereval.common.errors import StoreError
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import CELL_FOLDERS, CELLS, RETIRED, RunFolder, cell_of
from steereval.results.store.storage import location_within

NAMED = 3
"""Retired cells that a line names; it counts the others."""


@dataclass(frozen=True)
class AtHand:
    """Records and results of some cells in a run folder, in the run or set apart."""

    records: Mapping[str, CellRecord]
    """By cell id: of those that finished or failed."""
    finished: frozenset[str]
    """Ids of those with complete files."""


def retired(run: RunFolder) -> RunFolder:
    """The cells that are set apart, as a folder of the same form without a manifest."""
    return RunFolder(location_within(run.place, RETIRED))


def at_hand(run: RunFolder, cells: Collection[str]) -> AtHand:
    """The records and results in `run` of `cells`, given by id.

    Raises:
        StoreError: If a record is damaged.
    """
    apart = retired(run)
    ids = frozenset(cells)
    return AtHand(
        apart.records(ids) | run.records(ids),
        frozenset(apart.finished(ids) | run.finished(ids)),
    )


def replan(run: RunFolder, manifest: Manifest) -> None:
    """Write `manifest`, set apart the cells that it lacks, and bring back those that it has.

    Only for the driver of the folder.

    Raises:
        StoreError: If the folder cannot be written to; the next start goes on.
    """
    members = frozenset(manifest.members)
    _set_apart(run, run.stored() - members)
    run.write_manifest(manifest)
    _bring_back(run, members)


def settle(run: RunFolder) -> None:
    """Let the files in `run` agree with its manifest, where a driver was killed while it moved
    them.

    Only for the driver of the folder.

    Raises:
        StoreError: If the folder cannot be read or written to.
    """
    members = run.members()
    if members is not None:
        _set_apart(run, run.stored() - members)
        _bring_back(run, members)


def count_retired(run: RunFolder) -> int:
    """How many cells are set apart."""
    return len(_recorded(retired(run)))


def describe_retired(run: RunFolder) -> str:
    """A line that counts the cells that are set apart and names some; empty if there are none."""
    apart = retired(run)
    known = _recorded(apart)
    if not known:
        return ""
    names = ", ".join(_name(apart, cell_id) for cell_id in known[:NAMED])
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return (
        f"{len(known)} retired cell{'' if len(known) == 1 else 's'} of earlier grids, set apart in "
        f"{apart.place} and not counted: {names}{more}"
    )


def _recorded(apart: RunFolder) -> list[str]:
    names = sorted(apart.place.sizes(CELLS))
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def _name(apart: RunFolder, cell_id: str) -> str:
    """The cell's name; its id where the record cannot be read."""
    try:
        return apart.read_record(cell_id).name or cell_id
    except StoreError:
        return cell_id


def _set_apart(run: RunFolder, cells: Collection[str]) -> None:
    if cells:
        for folder in CELL_FOLDERS:
            run.place.make(f"{RETIRED}/{folder}")
    for cell_id, names in sorted(_files(run, cells).items()):
        for name in _record_first(cell_id, names):
            run.place.move(name, f"{RETIRED}/{name}")


def _bring_back(run: RunFolder, cells: Collection[str]) -> None:
    here = {name.removesuffix(".json") for name in run.place.sizes(CELLS) if name.endswith(".json")}
    for cell_id, names in sorted(_files(retired(run), cells).items()):
        for name in reversed(_record_first(cell_id, names)):
            # A record that is here came last: all that is set apart was copied before a kill.
            if cell_id in here:
                run.place.remove(f"{RETIRED}/{name}")
            else:
                run.place.move(f"{RETIRED}/{name}", name)


def _files(folder: RunFolder, cells: Collection[str]) -> dict[str, list[str]]:
    """{id: names of its files in the folder} of those of `cells` that have any."""
    files: dict[str, list[str]] = {}
    for part in CELL_FOLDERS:
        for name in folder.place.sizes(part):
            cell_id = cell_of(name)
            if cell_id is not None and cell_id in cells:
                files.setdefault(cell_id, []).append(f"{part}/{name}")
    return files


def _record_first(cell_id: str, names: Collection[str]) -> list[str]:
    record = f"{CELLS}/{cell_id}.json"
    return sorted(names, key=lambda name: (name != record, name))
