"""`steereval logs`."""

from __future__ import annotations

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.options import job_address_option, run_argument


@command(examples=["steereval logs first-20261201-0915 --follow"], is_silent=True)
@run_argument("Run id, as `submit` printed it, or the run folder.")
@job_address_option
@click.option("--follow", is_flag=True, help="Keep printing until the run ends.")
def logs(run: str, address: str | None, follow: bool) -> None:
    """Print the log of a submitted run."""
    from steereval.harness.deploy.job_submission import recall
    from steereval.ray_jobs import jobs

    job = recall(run, address)
    jobs.logs(job.address, job.id, follow, print)
