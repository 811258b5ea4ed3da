"""The state of a run in words, for `status` and `watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steereval.common.errors import InputError

if TYPE_CHECKING:
    from steereval.results.store.progress import Progress
    from steereval.results.store.run_folder import RunFolder


def counts(progress: Progress) -> str:
    """Cells that are done, failed, running and waiting, the speed, and what goes on inside."""
    from steereval.harness.run.progress import inside

    is_working = bool(progress.running) and progress.share is not None
    within = f"; {inside(progress)}" if is_working else ""
    return (
        f"{progress.done} of {progress.planned} cells done, {progress.failed} failed, "
        f"{len(progress.running)} running, {progress.waiting} waiting; "
        f"{progress.tokens_per_second:.0f} tokens/s{within}"
    )


def no_run(name: object) -> InputError:
    """The error for a folder that holds no run."""
    return InputError(f"{name} holds no progress of a run", "Give a run folder or a run id.")


def progress_of(run: RunFolder) -> Progress | None:
    """The progress of a run after one look at its driver; None if the folder holds none.

    Raises:
        StoreError: The folder cannot be read.
    """
    from steereval.results.store.lease import Observer
    from steereval.results.store.progress import read_progress, watched_progress

    if read_progress(run.place) is None:
        return None
    observer = Observer(run.place)
    return watched_progress(observer, observer.glance())


def unfinished(run: RunFolder) -> str | None:
    """How far a run is that a driver is at work on; None for any other run."""
    progress = progress_of(run)
    if progress is None or progress.is_over:
        return None
    return f"is still running: {progress.done} of {progress.planned} cells are done"
