"""`steereval cancel`."""

from __future__ import annotations

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.options import job_address_option, run_argument
from steereval.harness.cli.run_state import progress_of


@command(examples=["steereval cancel first-20261201-0915"])
@run_argument("Run id, as `submit` printed it.")
@job_address_option
def cancel(run: str, address: str | None) -> None:
    """Cancel a submitted run. It can be resumed later.

    `steereval run` or `steereval submit` with the same --out resumes it.
    """
    from steereval.harness.deploy.job_submission import folder_of, recall
    from steereval.ray_jobs import jobs

    if address is None and folder_of(run) == run:
        _refuse_folder(run)
    job = recall(run, address)
    state, _ = jobs.status(job.address, job.id)
    if state in jobs.ENDED:
        print(f"{job.id} has ended already: {state}")
        return
    state = jobs.stop(job.address, job.id)
    print(f"{job.id}: {state}; `steereval run` or `submit` with the same --out resumes it")


def _refuse_folder(run: str) -> None:
    """Raise InputError for a run folder, whose driver is a process of `steereval run`."""
    from steereval.results.store.lease import holder
    from steereval.results.store.run_folder import RunFolder

    place = RunFolder(run).place
    progress = progress_of(RunFolder(run))
    if progress is None:
        return
    if progress.is_over:
        raise InputError(
            f"{run} has ended already: {progress.state}", "There is nothing to cancel."
        )
    sign = holder(place) or {}
    raise InputError(
        f"{run} was started by `steereval run`, as process {sign.get('pid', '?')} on "
        f"{sign.get('host', 'an unknown machine')}",
        "Interrupt that process (Ctrl-C, or `kill -INT`); finished work is kept.",
    )
