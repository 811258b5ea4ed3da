"""Setuptools' build backend, which also puts `steereval.pth` into the wheels it makes.

A released lm-eval loads no entry points, so `lm_eval --model steereval` needs a start-up line:
`steereval.pth` imports `_steereval_hook` when Python starts. Setuptools has no option for that.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

# After "__editable__*.pth" in the alphabetical order in which Python reads start-up files, so
# that an editable install has put its folder on the path by then.
PTH_NAME = "steereval.pth"
PTH_LINE = b"import _steereval_hook\n"


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel with setuptools and add the start-up line to it."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    _add_pth(Path(wheel_directory) / name)
    return name


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build an editable wheel with setuptools and add the start-up line to it."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    _add_pth(Path(wheel_directory) / name)
    return name


def _add_pth(wheel: Path) -> None:
    """Rewrite `wheel` with the start-up file and its line in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(PTH_LINE).digest()).rstrip(b"=").decode()
    record_line = f"{PTH_NAME},sha256={digest},{len(PTH_LINE)}\n".encode()
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / wheel.name
        with (
            zipfile.ZipFile(wheel) as source,
            zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for entry in source.infolist():
                data = source.read(entry)
                if entry.filename.endswith(".dist-info/RECORD"):
                    data = data.rstrip(b"\n") + b"\n" + record_line
                target.writestr(entry, data)
            target.writestr(PTH_NAME, PTH_LINE)
        shutil.move(rewritten, wheel)
