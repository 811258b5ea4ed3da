"""`steereval archive`."""

from __future__ import annotations

from pathlib import Path

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.options import PATH, run_argument
from steereval.harness.cli.run_state import unfinished


@command(examples=["steereval archive runs/first --out first.tar.gz"])
@run_argument("Run folder.")
@click.option(
    "--out", type=PATH, required=True, metavar="FILE", help=".tar.gz or .zip file to write."
)
def archive(run: str, out: str) -> None:
    """Write a run into one file that others can check.

    `steereval verify` and `steereval query` read the file as it is.
    """
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.results.store.archive import write_archive
    from steereval.results.store.run_folder import RunFolder

    folder = RunFolder(folder_of(run))
    if state := unfinished(folder):
        raise InputError(f"{run} {state}", f"Archive it when `steereval watch {run}` ends.")
    write_archive(folder, Path(out))
    print(out)
