"""`steereval submit`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import command
from steereval.harness.cli.inputs import read_grid, say
from steereval.harness.cli.options import (
    OTHER_PATH,
    data_dir_option,
    grid_argument,
    include_path_option,
    limit_option,
    worker_options,
)


@command(
    examples=[
        "steereval submit grid.yaml --address http://HOST:8265 --out s3://bucket/run --env HF_TOKEN"
    ]
)
@grid_argument
@click.option(
    "--address", required=True, metavar="URL", help="Ray dashboard, such as http://HOST:8265."
)
@click.option(
    "--out",
    type=OTHER_PATH,
    required=True,
    metavar="RUN",
    help="Run folder that all nodes of the cluster see, or a URI.",
)
@data_dir_option(OTHER_PATH)
@include_path_option
@limit_option
@worker_options
@click.option(
    "--env",
    "environment",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Environment variable to set on the cluster, such as HF_TOKEN.",
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the run is submitted.")
def submit(
    grid: str,
    address: str,
    out: str,
    include_path: str | None,
    environment: Sequence[str],
    no_wait: bool,
    **options: Any,
) -> int:
    """Run a grid on a Ray cluster, as a job.

    The run id is printed first, then the log until the job ends. The exit status is 1 if it fails.
    """
    from steereval.harness.deploy.job_submission import submit as start
    from steereval.ray_jobs import jobs

    path = Path(grid)
    variables = _variables(environment)
    run = start(
        read_grid(grid, include_path=include_path), path, address, out, _words(options), variables
    )
    print(run.id, flush=True)
    if no_wait:
        return 0
    jobs.logs(run.address, run.id, True, say)
    state = jobs.wait(run.address, run.id)
    say(f"{run.id}: {state}")
    return 0 if state == "SUCCEEDED" else 1


def _words(options: Mapping[str, Any]) -> list[str]:
    """The options that `steereval run` gets on the cluster."""
    words = []
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _variables(texts: Sequence[str]) -> dict[str, str]:
    """Environment variables: NAME=VALUE, or NAME for its value on this machine."""
    variables = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign and name not in os.environ:
            raise InputError(f"--env {name} is not set here", "Write NAME=VALUE.")
        variables[name] = value if sign else os.environ[name]
    return variables
