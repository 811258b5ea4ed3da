"""`steereval verify`."""

from __future__ import annotations

from pathlib import Path

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import opened_run, publish_included, read_data_dir, say
from steereval.harness.cli.options import (
    PATH,
    data_dir_option,
    device_option,
    include_path_option,
    run_argument,
)
from steereval.harness.cli.run_state import unfinished


@command(
    examples=["steereval verify runs/first", "steereval verify first.tar.gz --cells 3 --device cpu"]
)
@run_argument("Run folder, or an archive of one.")
@click.option(
    "--report",
    "report_dir",
    type=PATH,
    metavar="FOLDER",
    help="Report to compare with (default: RUN/report).",
)
@click.option(
    "--cells", type=int, default=0, metavar="N", help="Compute N cells again and compare values."
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-3,
    show_default=True,
    metavar="X",
    help="Largest difference of a value that is computed again.",
)
@click.option("--other-versions", is_flag=True, help="Accept other installed versions.")
@device_option(default="auto")
@data_dir_option()
@include_path_option
def verify(
    run: str,
    report_dir: str | None,
    cells: int,
    tolerance: float,
    other_versions: bool,
    device: str,
    data_dir: str | None,
    include_path: str | None,
) -> int:
    """Check files, ids, versions and statistics of a finished run.

    The exit status is 1 if anything is wrong.
    """
    from steereval.harness.rerun.verify import Again, check_grid, run_again
    from steereval.results.report import report_reader
    from steereval.results.verification import verify_tables

    if cells < 0 or tolerance < 0:
        name, value = ("--cells", cells) if cells < 0 else ("--tolerance", tolerance)
        raise InputError(f"{name} is {value}", "Use 0 or more.")
    publish_included(include_path)
    again = Again(cells, tolerance, device, read_data_dir(data_dir))
    with opened_run(run) as folder:
        if state := unfinished(folder):
            raise InputError(f"{run} {state}", f"Verify it when `steereval watch {run}` ends.")
        reader = report_reader(folder, Path(report_dir) if report_dir else None)
        findings = [
            *verify_tables(folder, reader, not other_versions),
            *check_grid(folder, again.data_dir),
        ]
        if again.cells:
            findings += run_again(folder, again, say)
    for finding in findings:
        print(finding)
    wrong = sum(finding.is_wrong for finding in findings)
    print(f"{run}: {wrong or 'nothing'} wrong")
    return 1 if wrong else 0
