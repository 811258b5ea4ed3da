"""`steereval cluster`: files that start a Ray for a grid, for clusters of a given size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steereval.common.errors import InputError
from steereval.harness.cli.command import Group, command
from steereval.harness.cli.inputs import read_grid
from steereval.harness.cli.options import OTHER_PATH, Callback, grid_argument

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid
    from steereval.ray_jobs.clusters.job import Size


def _size_options(callback: Callback) -> Callback:
    """Add the number of nodes and what each has."""
    for name, default, help in (
        ("--memory-per-node", 128, "Memory of each node in GiB."),
        ("--cpus-per-node", 32, "Cores of each node."),
        ("--gpus-per-node", 8, "GPUs of each node; 0 works on CPUs."),
    ):
        callback = click.option(
            name, type=int, default=default, show_default=True, metavar="N", help=help
        )(callback)
    return click.option("--nodes", type=int, required=True, metavar="N", help="Worker nodes.")(
        callback
    )


_out_option: Callable[[Callback], Callback] = click.option(
    "--out",
    type=OTHER_PATH,
    required=True,
    metavar="RUN",
    help="Run folder that all nodes see, or a URI.",
)
_image_option: Callable[[Callback], Callback] = click.option(
    "--image", required=True, help="Container image that holds steereval."
)


@command(
    examples=[
        "steereval cluster kuberay grid.yaml --nodes 4 --image REGISTRY/steereval:1 "
        "--out s3://bucket/run > job.yaml"
    ]
)
@grid_argument
@_size_options
@_out_option
@_image_option
@click.option("--secret", metavar="NAME", help="Secret whose keys become environment variables.")
def kuberay(grid: str, out: str, image: str, secret: str | None, **size: int) -> None:
    """Print a RayJob for Kubernetes, with its ConfigMap."""
    from steereval.harness.deploy.job_submission import options_of, travelling
    from steereval.ray_jobs.clusters.job import Job
    from steereval.ray_jobs.clusters.kuberay import manifest

    path, read, nodes = _read(grid, size)
    if "://" not in out and not Path(out).is_absolute():
        raise InputError(
            f"--out is {out}, which would be lost with its container",
            "Give a URI such as s3://bucket/run, or the full path of a volume.",
        )
    files = travelling(read, path)
    job = Job(read.name, path.name, out, options_of(read))
    _print_header("kubectl apply -f FILE", f"kubectl logs -f -l job-name={job.slug}")
    print(manifest(job, files, nodes, image, secret), end="")


@command(examples=["steereval cluster slurm grid.yaml --nodes 4 --out /shared/runs/first > job.sh"])
@grid_argument
@_size_options
@_out_option
@click.option(
    "--time", "limit", default="24:00:00", show_default=True, help="Time limit of the job."
)
@click.option("--partition", metavar="NAME", help="Partition of the job.")
def slurm(grid: str, out: str, limit: str, partition: str | None, **size: int) -> None:
    """Print a batch script for Slurm."""
    from steereval.ray_jobs.clusters.job import Job
    from steereval.ray_jobs.clusters.slurm import script

    path, read, nodes = _read(grid, size)
    job = Job(read.name, str(path.resolve()), out if "://" in out else str(Path(out).resolve()))
    print(script(job, nodes, Path.cwd(), limit, partition), end="")


@command(
    "ray-up",
    examples=[
        "steereval cluster ray-up grid.yaml --nodes 4 --image REGISTRY/steereval:1 > cluster.yaml"
    ],
)
@grid_argument
@_size_options
@_image_option
@click.option("--region", default="us-west-2", show_default=True, help="Region of AWS.")
@click.option(
    "--instance", default="p4d.24xlarge", show_default=True, help="Instance type of worker nodes."
)
@click.option(
    "--head-instance",
    default="m5.xlarge",
    show_default=True,
    help="Instance type of the head node.",
)
def ray_up(
    grid: str, image: str, region: str, instance: str, head_instance: str, **size: int
) -> None:
    """Print a cluster file for `ray up` on AWS."""
    from steereval.ray_jobs.clusters.job import Job
    from steereval.ray_jobs.clusters.ray_up import Cloud, cluster_file

    path, read, nodes = _read(grid, size)
    job = Job(read.name, path.name, "")
    _print_header(
        "ray up FILE",
        "ray dashboard FILE",
        f"steereval submit {grid} --address http://127.0.0.1:8265 --out s3://...",
        "ray down FILE",
    )
    print(cluster_file(job.slug, nodes, Cloud(image, region, instance, head_instance)), end="")


def _read(grid: str, size: dict[str, Any]) -> tuple[Path, Grid, Size]:
    """The grid file, the grid, and a size that has room for its models."""
    from steereval.ray_jobs.clusters.job import Size

    read = read_grid(grid)
    nodes = Size(
        size["nodes"], size["gpus_per_node"], size["cpus_per_node"], size["memory_per_node"]
    )
    if nodes.gpus:
        # This import brings torch, which takes seconds.
        from steereval.harness.estimate.simulation import check_room

        check_room(read, nodes.gpus)
    return Path(grid), read, nodes


def _print_header(*commands: str) -> None:
    for line in commands:
        print(f"# {line}")


cluster = Group(
    "cluster",
    {"Kinds": (kuberay, slurm, ray_up)},
    help="Print files that start a Ray cluster for a grid.\n\nFor KubeRay, Slurm and `ray up`.",
)
