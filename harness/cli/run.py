"""`steereval run`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import read_data_dir, read_grid, say
from steereval.harness.cli.options import (
    PATH,
    data_dir_option,
    grid_argument,
    include_path_option,
    limit_option,
    worker_options,
)

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid


@command(
    examples=[
        "steereval run examples/quickstart.yaml --out runs/first",
        "steereval run grid.yaml --out s3://bucket/run --address auto --workers 8",
    ]
)
@grid_argument
@click.option("--out", type=PATH, required=True, metavar="RUN", help="Run folder, or a URI.")
@data_dir_option()
@include_path_option
@limit_option
@worker_options
@click.option("--address", metavar="RAY", help="Ray to run on: auto, ray://HOST:10001, or local.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "lines", "json"]),
    default="auto",
    show_default=True,
    help="auto is a live display in a terminal and lines elsewhere; json writes an object a line.",
)
@click.option("--profile", is_flag=True, default=None, help="Measure where the time goes.")
@click.option("--no-report", is_flag=True, help="Do not build the report.")
def run(
    grid: str,
    out: str,
    data_dir: str | None,
    include_path: str | None,
    limit: int | None,
    progress: Literal["auto", "lines", "json"],
    no_report: bool,
    **overrides: Any,
) -> int:
    """Run a grid, or resume it, and build the report.

    Finished cells of the run folder are kept. The exit status is 1 if a cell failed.
    """
    # Imports take ten seconds on a slow machine.
    say(f"reading {grid}")
    from steereval.harness.config.included import with_members
    from steereval.harness.run.driver import run_grid

    read = with_members(_overridden(read_grid(grid, limit, include_path), overrides))
    folder = read_data_dir(data_dir)
    if read.diagnose is not None:
        # On a fresh machine this import takes seconds.
        from steereval.harness.diagnose.command import check_diagnosis, diagnose_grid

        check_diagnosis(read, folder)
    summary = run_grid(read, out, folder, say, progress)
    undiagnosed = () if read.diagnose is None else diagnose_grid(read, out, folder, say)
    # Cells and judgements that failed were printed when they did.
    for failure in undiagnosed:
        say(f"failed: {failure}")
    for sentence in summary.lost:
        say(sentence)
    say(f"{summary.planned - len(summary.failed)} of {summary.planned} cells are done")
    if not no_report:
        _report(out)
    return 1 if summary.failed or summary.unjudged or undiagnosed else 0


def _overridden(grid: Grid, options: dict[str, Any]) -> Grid:
    """The grid with the run settings of the command line."""
    overrides = {name: value for name, value in options.items() if value is not None}
    for name in ("workers", "batch_size", "time_limit"):
        if overrides.get(name, 1) <= 0:
            raise InputError(f"--{name.replace('_', '-')} is {overrides[name]}", "Use 1 or more.")
    return dataclasses.replace(grid, run=dataclasses.replace(grid.run, **overrides))


def _report(out: str) -> None:
    """Build the report; print the verdicts and its path."""
    from steereval.common.activity import doing
    from steereval.results.report import publish_report
    from steereval.results.report.writers.terminal import print_verdicts
    from steereval.results.store.run_folder import RunFolder

    with doing("writing the report"):
        published = publish_report(RunFolder(out))
    print_verdicts(published.analysis, sys.stdout)
    print(published.page)
