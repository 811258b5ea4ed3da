"""A cluster file for `ray up`: machines of AWS, on which containers run Ray.

The head only directs; runs come to it by `steereval submit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from steereval.ray_jobs.clusters.job import Size

PORT = 6379
DISK = 200
"""Gigabytes of each machine's disk: image, models and what is read of them."""


@dataclass(frozen=True)
class Cloud:
    """The machines that are rented, and their software."""

    image: str
    """Container image with all that the package depends on."""
    region: str
    """Region of AWS."""
    instance: str
    """Kind of machine that does the work."""
    head: str
    """Kind of machine that directs."""


def cluster_file(name: str, size: Size, cloud: Cloud) -> str:
    """The YAML of a cluster called `name`."""
    data: dict[str, Any] = {
        "cluster_name": name,
        "max_workers": size.nodes,
        "provider": {"type": "aws", "region": cloud.region, "cache_stopped_nodes": False},
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": cloud.image,
            "container_name": "steereval",
            "pull_before_run": True,
            "run_options": ["--ulimit nofile=65536:65536"],
        },
        "head_node_type": "head",
        "available_node_types": {
            # Without CPUs and GPUs it gets no worker.
            "head": _machines(cloud.head, {"CPU": 0, "GPU": 0}, 0),
            "workers": _machines(cloud.instance, {"CPU": size.cpus, "GPU": size.gpus}, size.nodes),
        },
        "head_start_ray_commands": [
            "ray stop",
            f"ray start --head --port={PORT} --dashboard-host=127.0.0.1 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            f"ray start --address=$RAY_HEAD_IP:{PORT}",
        ],
    }
    return yaml.safe_dump(data, sort_keys=False, width=100)


def _machines(kind: str, resources: dict[str, int], count: int) -> dict[str, Any]:
    # All are there from the start: workers are placed on nodes, and ask for none.
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": DISK, "VolumeType": "gp3"}}
    return {
        "resources": resources,
        "node_config": {"InstanceType": kind, "BlockDeviceMappings": [disk]},
        "min_workers": count,
        "max_workers": count,
    }
