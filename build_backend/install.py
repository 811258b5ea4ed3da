"""Installs packages into this environment with uv, under the settings of pip.

    python build_backend/install.py constraints.txt --editable .

uv needs a tenth of pip's time, but reads none of its settings: the index, the certificates and the
constraints that are configured for pip are handed to it. Where uv cannot be installed or fails, pip
installs the same arguments.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
# Settings of pip and the variables of uv which mean the same.
MEANINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
SEPARATORS = {"UV_FIND_LINKS": ","}


def pip_settings(listing: Iterable[str]) -> dict[str, str]:
    """Settings by name from the lines of `pip config list`; environment variables win."""
    settings: dict[str, str] = {}
    for line in sorted(listing, key=lambda line: line.startswith(":env:")):
        name, separator, value = line.partition("=")
        if separator:
            settings[name.split(".", 1)[-1]] = str(ast.literal_eval(value))
    return settings


def uv_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv that mean what `settings` mean for pip."""
    variables = {
        # pip takes the best version of all indexes, uv's default is the first index.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_CONFIG": "1",
    }
    for name, variable in MEANINGS.items():
        if settings.get(name):
            variables[variable] = SEPARATORS.get(variable, " ").join(settings[name].split())
    return variables


def main(constraints: str, arguments: list[str]) -> int:
    """Install `arguments` with uv, else with pip; the exit status of the installer."""
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    environment = {**os.environ, **uv_environment(pip_settings(listing.stdout.splitlines()))}
    arguments = ["--quiet", "--constraint", constraints, *arguments]
    with_uv = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    steps = [
        [*PIP, "install", "--quiet", "--constraint", constraints, "uv"],
        [*with_uv, *arguments],
    ]
    if all(subprocess.run(step, env=environment, check=False).returncode == 0 for step in steps):
        return 0
    print("uv could not install the packages: pip takes over", file=sys.stderr)
    # What is imported is compiled then: to compile all files takes as long as to install them.
    return subprocess.run([*PIP, "install", "--no-compile", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
