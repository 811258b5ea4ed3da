"""A job on a cluster that is started for it, and the size of that cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steereval.common.errors import InputError

LONGEST_NAME = 40
"""KubeRay adds to the names of its jobs, and Kubernetes takes 63 characters."""


@dataclass(frozen=True)
class Size:
    """Alike nodes that do the work. Raises InputError for numbers that cannot be."""

    nodes: int
    """How many."""
    gpus: int = 8
    """GPUs of each; 0: the work is done on CPUs."""
    cpus: int = 32
    """Cores of each."""
    memory: int = 128
    """Main memory of each, in GiB."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value, least in (
            ("nodes", self.nodes, 1),
            ("gpus-per-node", self.gpus, 0),
            ("cpus-per-node", self.cpus, 1),
            ("memory-per-node", self.memory, 1),
        ):
            if value < least:
                raise InputError(f"--{name} is {value}", f"Use {least} or more.")


@dataclass(frozen=True)
class Job:
    """A run of a grid file."""

    name: str
    """The grid's name, as written."""
    grid: str
    """Name of the grid file in `folder`, or its path."""
    out: str
    """The run folder, as the cluster sees it."""
    options: Sequence[str] = ()
    """More of `steereval run`."""

    @property
    def slug(self) -> str:
        """The name in letters, digits and hyphens, as Kubernetes and clouds want it."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return f"steereval-{plain}"[:LONGEST_NAME].rstrip("-")

    def command(self, address: str) -> str:
        """The line of a shell that runs it on the Ray at `address`, a word of the shell itself."""
        run = ["python", "-m", "steereval", "run", self.grid, "--out", self.out]
        return f"{shlex.join([*run, *self.options])} --progress lines --address {address}"


Files = Mapping[str, bytes]
"""Contents of files by their names, which may lie in folders."""
