"""`steereval watch`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from steereval.harness.cli.command import command
from steereval.harness.cli.options import run_argument
from steereval.harness.cli.run_state import counts, no_run

if TYPE_CHECKING:
    from steereval.results.store.progress import Progress


@command(
    examples=["steereval watch runs/first", "steereval watch runs/first --json --wait"],
    is_silent=True,
)
@run_argument("Run folder, or a run id, as `submit` printed it.")
@click.option("--json", "as_json", is_flag=True, help="Write an object of JSON a line.")
@click.option("--wait", is_flag=True, help="Wait for the run to begin.")
@click.option(
    "--every",
    type=float,
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between readings of the folder.",
)
def watch(run: str, as_json: bool, wait: bool, every: float) -> int:
    """Follow the progress of a run until it ends.

    Only the run folder is read. The exit status is 1 unless all cells are done.
    """
    from steereval.harness.deploy.job_submission import folder_of
    from steereval.harness.run.progress import display
    from steereval.results.store.lease import Observer
    from steereval.results.store.progress import ENDED, watched_progress
    from steereval.results.store.run_folder import RunFolder

    place = RunFolder(folder_of(run)).place
    observer = Observer(place)
    shown: Progress | None = None
    with display("json" if as_json else "auto") as screen:
        while True:
            progress = watched_progress(observer, observer.look())
            if progress is None and shown is None and not wait:
                raise no_run(place)
            # Whoever waits for a run to begin waits for an interrupted one to be resumed.
            is_awaited = wait and shown is None and _is_interrupted(progress)
            if progress is not None and progress != shown and not is_awaited:
                is_news = shown is None or _cells(progress) != _cells(shown)
                screen.show(progress, counts(progress) if is_news else None)
                shown = progress
            if progress is not None and progress.is_over and not is_awaited:
                return 0 if progress.state == ENDED and not progress.failed else 1
            time.sleep(every)


def _cells(progress: Progress) -> tuple[object, ...]:
    """The part of the progress that is printed as soon as it changes."""
    return progress.state, progress.done, progress.failed, len(progress.running)


def _is_interrupted(progress: Progress | None) -> bool:
    from steereval.results.store.progress import INTERRUPTED

    return progress is not None and progress.state == INTERRUPTED
