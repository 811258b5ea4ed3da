"""The command `cluster`: files that start a Ray for a grid, ready for a size."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from steereval.common.errors import InputError
from steereval.harness.deploy.job_submission import travelling
from steereval.ray_jobs.clusters.job import Job, Size

if TYPE_CHECKING:
    from steereval.harness.config.grid import Grid


def kuberay(arguments: argparse.Namespace) -> int:
    """Print a RayJob and its ConfigMap."""
    from steereval.ray_jobs.clusters.kuberay import manifest

    path, grid, size = _asked(arguments)
    out = str(arguments.out)
    if "://" not in out and not Path(out).is_absolute():
        raise InputError(
            f"--out is {out}, which would be lost with its container",
            "Give a URI such as s3://bucket/run, or the full path of a volume.",
        )
    files = {name: source.read_bytes() for name, source in travelling(grid, path).items()}
    job = Job(grid.name, path.name, out)
    print(_header("kubectl apply -f FILE", f"kubectl logs -f -l job-name={job.slug}"))
    print(manifest(job, files, size, arguments.image, arguments.secret), end="")
    return 0


def slurm(arguments: argparse.Namespace) -> int:
    """Print a batch script."""
    from steereval.ray_jobs.clusters.slurm import script

    path, grid, size = _asked(arguments)
    out = str(arguments.out)
    job = Job(grid.name, str(path.resolve()), out if "://" in out else str(Path(out).resolve()))
    print(script(job, size, Path.cwd(), arguments.time, arguments.partition), end="")
    return 0


def ray_up(arguments: argparse.Namespace) -> int:
    """Print a cluster file."""
    from steereval.ray_jobs.clusters.ray_up import Cloud, cluster_file

    path, grid, size = _asked(arguments)
    cloud = Cloud(arguments.image, arguments.region, arguments.instance, arguments.head_instance)
    job = Job(grid.name, path.name, "")
    print(
        _header(
            "ray up FILE",
            "ray dashboard FILE",
            f"steereval submit {arguments.grid} --address http://127.0.0.1:8265 --out s3://...",
            "ray down FILE",
        )
    )
    print(cluster_file(job.slug, size, cloud), end="")
    return 0


def _asked(arguments: argparse.Namespace) -> tuple[Path, Grid, Size]:
    path = Path(arguments.grid)
    from steereval.harness.config.grid import load_grid

    grid = load_grid(path)
    size = Size(
        arguments.nodes, arguments.gpus_per_node, arguments.cpus_per_node,
        arguments.memory_per_node,
    )  # fmt: skip
    if size.gpus:
        # Imported here: it brings torch, which takes seconds.
        from steereval.harness.estimate.simulation import check_room

        check_room(grid, size.gpus)
    return path, grid, size


def _header(*commands: str) -> str:
    return "\n".join(f"# {command}" for command in commands)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The kinds of cluster, each with its options."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, what, command in (
        ("kuberay", "a RayJob for Kubernetes", kuberay),
        ("slurm", "a batch script for Slurm", slurm),
        ("ray-up", "a cluster file for `ray up` on AWS", ray_up),
    ):
        kind = kinds.add_parser(name, help=what, description=what)
        kind.set_defaults(command=command)
        kind.add_argument("--debug", action="store_true", help="show tracebacks")
        kind.add_argument("grid", help="grid file (YAML)")
        kind.add_argument("--nodes", type=int, required=True, help="nodes that do the work")
        kind.add_argument("--gpus-per-node", type=int, default=8, help="0: work on CPUs (8)")
        kind.add_argument("--cpus-per-node", type=int, default=32, help="cores of each (32)")
        kind.add_argument("--memory-per-node", type=int, default=128, help="GiB of each (128)")
        if name != "ray-up":
            kind.add_argument("--out", required=True, help="run folder that all nodes see, or URI")
        if name != "slurm":
            kind.add_argument("--image", required=True, help="container image with the package")
        if name == "kuberay":
            kind.add_argument("--secret", help="its keys become environment variables")
        elif name == "slurm":
            kind.add_argument("--time", default="24:00:00", help="longest time (24:00:00)")
            kind.add_argument("--partition", help="where the job waits")
        else:
            kind.add_argument("--region", default="us-west-2", help="of AWS (us-west-2)")
            kind.add_argument(
                "--instance", default="p4d.24xlarge", help="machine that works (p4d.24xlarge)"
            )
            kind.add_argument(
                "--head-instance", default="m5.xlarge", help="machine that directs (m5.xlarge)"
            )
