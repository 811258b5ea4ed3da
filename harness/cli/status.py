"""`steereval status`."""

from __future__ import annotations

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.options import job_address_option, run_argument
from steereval.harness.cli.run_state import counts, no_run, progress_of


@command(examples=["steereval status runs/first"])
@run_argument("Run folder, or a run id, as `submit` printed it.")
@job_address_option
def status(run: str, address: str | None) -> None:
    """Show the progress of a run."""
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.harness.run.progress import remaining
    from steereval.results.store.retired import describe_retired
    from steereval.results.store.run_folder import RunFolder

    folder = folder_of(run)
    is_job = folder != run or bool(address)
    if is_job:
        folder = _print_job(run, address)
    if not folder:
        return
    store = RunFolder(folder)
    progress = progress_of(store)
    if progress is not None:
        print(f"{counts(progress)}; {remaining(progress)}")
    elif not is_job:
        raise no_run(run)
    if retired := describe_retired(store):
        print(retired)


def _print_job(run: str, address: str | None) -> str:
    """Print the state of a submitted run's job.

    Returns:
        The run's folder; empty if it is unknown. A Ray that has gone does not hide the folder.
    """
    from steereval.harness.deploy.job_submission import recall
    from steereval.ray_jobs import jobs

    job = recall(run, address)
    try:
        state, words = jobs.status(job.address, job.id)
    except InputError as error:
        if not job.out:
            raise
        state, words = "unknown", error.problem
    print(f"{job.id}: {state}{'. ' + words if words else ''}")
    return job.out
