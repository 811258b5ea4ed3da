"""The executor of a grid: this process, or workers on Ray."""

from __future__ import annotations

import joblib

from steereval.harness.config.grid import Grid, RunSpec
from steereval.harness.deploy.package_snapshot import package_folder
from steereval.ray_jobs.work import Executor


def executor_of(grid: Grid) -> Executor:
    """The executor of `grid`: this process, or workers on Ray."""
    run = grid.run
    gpus = gpus_here(run.device)
    if run.address is None and (run.workers or gpus or 1) == 1:
        from steereval.ray_jobs.serial import SerialExecutor

        return SerialExecutor(None if gpus else int(joblib.cpu_count()))
    # Imported here: Ray takes a second to import, and one worker does not need it.
    from steereval.ray_jobs.ray_executor import RayExecutor
    from steereval.ray_jobs.rules import Rules

    remote = is_remote(run)
    return RayExecutor(
        workers=run.workers,
        address=run.address or "local",
        on_gpus=(None if run.device != "cpu" else False) if remote else gpus > 0,
        package=package_folder() if remote else None,
        rules=Rules(retries=run.retries),
    )


def is_remote(run: RunSpec) -> bool:
    """Whether workers are on a Ray that was there before; it may have GPUs."""
    return run.address not in (None, "local")


def gpus_here(device: str) -> int:
    """GPUs of this machine that a run on `device` uses."""
    import torch

    return torch.cuda.device_count() if device in ("auto", "cuda") else 0
