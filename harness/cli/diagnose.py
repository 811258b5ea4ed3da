"""`steereval diagnose`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import read_data_dir, say
from steereval.harness.cli.options import PATH, data_dir_option, device_option, run_argument

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid


@command(
    examples=[
        "steereval diagnose runs/first",
        "steereval diagnose examples/quickstart.yaml --out runs/diagnosis --items 50",
    ]
)
@run_argument("Run folder, or a grid file (.yaml).")
@click.option("--out", type=PATH, metavar="RUN", help="Folder to write into; only for a grid file.")
@data_dir_option()
@click.option("--items", type=int, metavar="N", help="Most held-out statements (default: 100).")
@device_option()
def diagnose(
    run: str, out: str | None, data_dir: str | None, items: int | None, device: str | None
) -> int:
    """Measure barriers, trajectories, integrators and costs.

    The report gains the sections that show them. The exit status is 1 if a measurement failed.
    """
    from steereval.harness.config.grid import load_grid, parse_grid
    from steereval.harness.config.included import with_members
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.harness.diagnose.command import diagnose_alone, diagnose_grid
    from steereval.results.report import publish_report
    from steereval.results.store.run_folder import RunFolder

    is_grid = Path(run).suffix in (".yaml", ".yml")
    if is_grid:
        if out is None:
            raise InputError(f"{run} is a grid file, and no folder is given", "Add --out RUN.")
        folder, measure = out, diagnose_alone
        grid = with_members(load_grid(Path(run)))
    else:
        if out is not None:
            raise InputError(
                f"--out is {out}, but {run} is a run folder, which is written into itself",
                "Leave out --out, or give a grid file.",
            )
        folder, measure = folder_of(run), diagnose_grid
        grid = parse_grid(RunFolder(folder).read_manifest().grid)
    failures = measure(_adapted(grid, items, device), folder, read_data_dir(data_dir), say)
    for failure in failures:
        say(f"failed: {failure}")
    print(publish_report(RunFolder(folder)).page)
    return 1 if failures else 0


def _adapted(grid: Grid, items: int | None, device: str | None) -> Grid:
    """The grid with a diagnosis, and with the options of the command line."""
    from steereval.harness.config.grid import DiagnoseSpec, changed

    spec = grid.diagnose or DiagnoseSpec()
    if items is not None:
        spec = changed(spec, items=items)
    settings = grid.run if device is None else dataclasses.replace(grid.run, device=device)
    return dataclasses.replace(grid, diagnose=spec, run=settings)
