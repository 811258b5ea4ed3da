"""`steereval cancel`."""

from __future__ import annotations

from steereval.harness.cli.command import command
from steereval.harness.cli.options import job_address_option, run_argument


@command(examples=["steereval cancel first-20261201-0915"])
@run_argument("Run id, as `submit` printed it, or the run folder.")
@job_address_option
def cancel(run: str, address: str | None) -> None:
    """Cancel a submitted run. It can be resumed later.

    `steereval run` or `steereval submit` with the same --out resumes it.
    """
    from steereval.harness.deploy.job_submission import recall
    from steereval.ray_jobs import jobs

    job = recall(run, address)
    state = jobs.stop(job.address, job.id)
    print(f"{job.id}: {state}; `steereval run` or `submit` with the same --out resumes it")
