"""Which versions of what a cell is computed with."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

PACKAGES = ("steereval", "lm_eval", "torch", "transformers", "ray", "datasets", "pyarrow")
"""Of which manifests and records say the version."""


def versions(own: Iterable[str] = ()) -> dict[str, str]:
    """{package: installed version} of PACKAGES, and of those in `own` ("name==version")."""
    found = {package: version(package) for package in PACKAGES}
    return found | dict(sorted(package.split("==") for package in own if package))
