"""The state of a run in words, for `status` and `watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steereval.common.errors import InputError

if TYPE_CHECKING:
    from steereval.results.store.progress import Progress


def counts(progress: Progress) -> str:
    """Cells that are done, failed, running and waiting, and the speed."""
    return (
        f"{progress.done} of {progress.planned} cells done, {progress.failed} failed, "
        f"{len(progress.running)} running, {progress.waiting} waiting; "
        f"{progress.tokens_per_second:.0f} tokens/s"
    )


def no_run(name: object) -> InputError:
    """The error for a folder that holds no run."""
    return InputError(f"{name} holds no progress of a run", "Give a run folder or a run id.")
