"""The commands that concern runs elsewhere: submit, status, logs, cancel, watch."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from steereval.common.errors import InputError
from steereval.harness.deploy.job_submission import folder_of, recall
from steereval.harness.deploy.job_submission import submit as start
from steereval.harness.run.progress import display, remaining
from steereval.results.store.lease import Observer
from steereval.results.store.progress import (
    ENDED,
    INTERRUPTED,
    Progress,
    read_progress,
    watched_progress,
)
from steereval.results.store.retired import describe_retired
from steereval.results.store.run_folder import RunFolder


def submit(arguments: argparse.Namespace) -> int:
    """Start a run on a cluster; unless told not to wait, show its log until it ends."""
    from steereval.ray_jobs import jobs

    path = Path(arguments.grid)
    from steereval.harness.config.grid import load_grid

    grid = load_grid(path)
    run = start(grid, path, arguments.address, arguments.out, _options(arguments), _set(arguments))
    print(run.id, flush=True)
    if arguments.no_wait:
        return 0
    jobs.logs(run.address, run.id, True, _say)
    state = jobs.wait(run.address, run.id)
    _say(f"{run.id}: {state}")
    return 0 if state == "SUCCEEDED" else 1


def status(arguments: argparse.Namespace) -> int:
    """Print how far a run is: a run folder's, or that of a submitted run with the job's state."""
    folder = folder_of(arguments.run)
    is_job = folder != arguments.run or bool(arguments.address)
    if is_job:
        folder = _job_status(arguments)
    store = RunFolder(folder) if folder else None
    now = _now(store) if store else None
    if now is None and not is_job:
        raise InputError(
            f"{arguments.run} says nothing of any run", "Give a run folder or a run id."
        )
    if now is not None:
        print(_in_words(now))
    if store is not None and (told := describe_retired(store)):
        print(told)
    return 0


def _job_status(arguments: argparse.Namespace) -> str:
    """Print the state of a submitted run's job; the run's folder, empty if it is not known.

    A Ray that is gone does not hide how far the folder is.
    """
    from steereval.ray_jobs import jobs

    run = recall(arguments.run, arguments.address)
    try:
        state, words = jobs.status(run.address, run.id)
    except InputError as error:
        if not run.out:
            raise
        state, words = "unknown", error.problem
    print(f"{run.id}: {state}{'. ' + words if words else ''}")
    return run.out


def _now(store: RunFolder) -> Progress | None:
    """How far the run is, at one glance at its driver; None if it says nothing."""
    if read_progress(store.place) is None:
        return None
    observer = Observer(store.place)
    return watched_progress(observer, observer.glance())


def logs(arguments: argparse.Namespace) -> int:
    """Print the log of a submitted run."""
    from steereval.ray_jobs import jobs

    run = recall(arguments.run, arguments.address)
    jobs.logs(run.address, run.id, arguments.follow, print)
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Stop a submitted run; its folder can be gone on with."""
    from steereval.ray_jobs import jobs

    run = recall(arguments.run, arguments.address)
    state = jobs.stop(run.address, run.id)
    print(f"{run.id}: {state}; `steereval run` or `submit` with the same --out goes on with it")
    return 0


def watch(arguments: argparse.Namespace) -> int:
    """Show how far a run is until it ends, from its folder alone; 1 unless all cells are done."""
    place = RunFolder(folder_of(arguments.run)).place
    observer = Observer(place)
    with display("json" if arguments.json else "auto") as screen:
        shown: Progress | None = None
        while True:
            now = watched_progress(observer, observer.look())
            if now is None and shown is None and not arguments.wait:
                raise InputError(
                    f"{place} says nothing of any run", "Give a run folder or a run id."
                )
            # Who waits for a run to begin waits for one that was interrupted to be started again.
            is_awaited = arguments.wait and shown is None and _is_interrupted(now)
            if now is not None and now != shown and not is_awaited:
                screen.show(now, _counts(now))
                shown = now
            if now is not None and now.is_over and not is_awaited:
                return 0 if now.state == ENDED and not now.failed else 1
            time.sleep(arguments.every)


def _is_interrupted(now: Progress | None) -> bool:
    return now is not None and now.state == INTERRUPTED


def _in_words(now: Progress) -> str:
    return f"{_counts(now)}; {remaining(now)}"


def _counts(now: Progress) -> str:
    return (
        f"{now.done} of {now.planned} cells done, {now.failed} failed, {len(now.running)} running, "
        f"{now.waiting} waiting; {now.tokens_per_second:.0f} tokens/s"
    )


def _options(arguments: argparse.Namespace) -> list[str]:
    """What is handed on to `steereval run`."""
    found = []
    for name in ("data_dir", "limit", "workers", "batch_size", "device", "time_limit"):
        value = getattr(arguments, name)
        if value is not None:
            found += [f"--{name.replace('_', '-')}", str(value)]
    return found


def _set(arguments: argparse.Namespace) -> dict[str, str]:
    """Environment variables to set there: NAME=VALUE, or NAME for the value that it has here."""
    found = {}
    for text in arguments.env:
        name, sign, value = text.partition("=")
        if not sign and name not in os.environ:
            raise InputError(f"--env {name} is not set here", "Write NAME=VALUE.")
        found[name] = value if sign else os.environ[name]
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
