"""A batch script for Slurm, which starts a Ray over its nodes and drives a run there."""

from __future__ import annotations

import shlex
from pathlib import Path

from steereval.ray_jobs.clusters.job import Job, Size

WARNING = 120
"""Seconds before the end of its time at which the run receives the signal to stop."""
TRIES = 120
"""How often the head is asked whether it has started, a second apart."""


def script(job: Job, size: Size, folder: Path, time: str, partition: str | None = None) -> str:
    """The script for `sbatch`: it runs in `folder`, which all nodes see, for `time` at most.

    A part that differs between runs comes first; what follows, `slurm.sh`, is the same for all.
    """
    wanted = {
        "job-name": job.slug,
        "nodes": size.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": size.cpus,
        "mem": f"{size.memory}G",
        **({"gpus-per-node": size.gpus} if size.gpus else {}),
        "time": time,
        **({"partition": partition} if partition else {}),
        "chdir": shlex.quote(str(folder)),
        "output": f"{job.slug}-%j.log",
        "signal": f"B:TERM@{WARNING}",
    }
    # A node that fails does not end the job, and a job that ends so is started again.
    lines = ["#!/bin/bash", *(f"#SBATCH --{key}={value}" for key, value in wanted.items())]
    lines += ["#SBATCH --no-kill", "#SBATCH --requeue", ""]
    values = {"CPUS": size.cpus, "GPUS": size.gpus, "TRIES": TRIES}
    lines += [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
    lines += ["drive() {", "  exec " + job.command('"$1"'), "}", ""]
    body = Path(__file__).with_name("slurm.sh").read_text(encoding="utf-8")
    return "\n".join(lines) + "\n" + body
