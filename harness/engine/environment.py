"""Which versions of what a cell is computed with."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("steereval", "lm_eval", "torch", "transformers", "ray", "datasets", "pyarrow")
"""Of which manifests and records say the version."""


def versions(pinned: Iterable[str] = ()) -> dict[str, str]:
    """{package: installed version} of PACKAGES, and of those `pinned` ("name==version")."""
    installed = {package: version(package) for package in PACKAGES}
    return installed | dict(sorted(package.split("==") for package in pinned if package))


@cache
def environment(device: str, package: str = "") -> dict[str, Any]:
    """Where a cell runs; `package` is that of its method, where this is not ours."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions([package]),
    }
