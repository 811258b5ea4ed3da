"""A RayJob of KubeRay: a Ray on Kubernetes that lives for one run.

The grid file and what it reads travel in a ConfigMap. The image holds this package and all that it
depends on. The head only directs and drives; the workers do the work.
"""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import Any

import yaml

from steereval.common.errors import InputError
from steereval.ray_jobs.clusters.job import Files, Job, Size

FOLDER = "/etc/steereval"
"""Where the files are in the head's container."""
START = "start.sh"
"""The driver's command as a file: how KubeRay quotes an entrypoint differs between versions."""
LARGEST = 1_000_000
"""Bytes that a ConfigMap may hold, less some room for names."""
HEAD = {"cpu": "4", "memory": "16Gi"}
"""Resources of the head, which holds no model."""
LATER = 600
"""Seconds for which an ended cluster is left, to look at."""


def manifest(job: Job, files: Files, size: Size, image: str, secret: str | None = None) -> str:
    """The YAML of a ConfigMap and a RayJob, for `kubectl apply -f`.

    Every key of `secret` becomes an environment variable of all containers. Raises InputError
    where the files are too large to travel so.
    """
    documents = (_config_map(job, files), _ray_job(job, files, size, image, secret))
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines line by line."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def _config_map(job: Job, files: Files) -> dict[str, Any]:
    total = sum(map(len, files.values()))
    if total > LARGEST:
        raise InputError(
            f"the grid and the files it reads are {total} bytes, and a ConfigMap holds {LARGEST}",
            "Put the files into the image or on a shared volume, and give their full paths.",
        )
    start = f"cd {FOLDER} && exec {job.command('auto')}\n"
    text, binary = {START: start}, {}
    for index, content in enumerate(files.values()):
        try:
            text[_key(index)] = content.decode()
        except UnicodeDecodeError:
            binary[_key(index)] = base64.b64encode(content).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": job.slug},
        "data": text,
        **({"binaryData": binary} if binary else {}),
    }


def _key(index: int) -> str:
    # Keys hold no slashes: the volume gives the files their names.
    return f"file-{index}"


def _ray_job(job: Job, files: Files, size: Size, image: str, secret: str | None) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": job.slug},
        "spec": {
            "entrypoint": f"bash {FOLDER}/{START}",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": LATER,
            # A driver that was lost resumes where it stopped.
            "backoffLimit": 1,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
                    "template": _head(job, files, image, secret),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": size.nodes,
                        "minReplicas": size.nodes,
                        "maxReplicas": size.nodes,
                        "rayStartParams": {},
                        "template": _worker(size, image, secret),
                    }
                ],
            },
        },
    }


def _head(job: Job, files: Files, image: str, secret: str | None) -> dict[str, Any]:
    container = _container("ray-head", image, HEAD, secret)
    container["ports"] = [
        {"name": "gcs", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
        {"name": "client", "containerPort": 10001},
    ]
    container["volumeMounts"].append({"name": "grid", "mountPath": FOLDER, "readOnly": True})
    template = _template(container)
    items = [{"key": _key(index), "path": name} for index, name in enumerate(files)]
    template["spec"]["volumes"].append(
        {
            "name": "grid",
            "configMap": {"name": job.slug, "items": [{"key": START, "path": START}, *items]},
        }
    )
    return template


def _worker(size: Size, image: str, secret: str | None) -> dict[str, Any]:
    resources = {"cpu": str(size.cpus), "memory": f"{size.memory}Gi"}
    if size.gpus:
        resources["nvidia.com/gpu"] = str(size.gpus)
    return _template(_container("ray-worker", image, resources, secret))


def _container(
    name: str, image: str, resources: dict[str, str], secret: str | None
) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        # The object store lies in shared memory, of which containers have 64 MiB by themselves.
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
        **({"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}),
    }


def _template(container: dict[str, Any]) -> dict[str, Any]:
    memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}
    return {"spec": {"containers": [container], "volumes": [memory]}}
