"""Ray's Jobs API: a command that runs on a cluster, away from this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steereval.common.errors import InputError
from steereval.common.text import first_line
from steereval.ray_jobs.token import present_token

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
STOPPING = 10.0
"""Seconds within which a job that is stopped has ended: Ray kills it after three."""


@dataclass(frozen=True)
class PackageSnapshot:
    """The files and settings that are sent with a job."""

    package: Path
    """Folder of the import package, unpacked: an archive would bring its dependencies again."""
    files: Path
    """Folder in which the command starts."""
    environment: Mapping[str, str]
    """Environment variables of the command and of its workers."""


def submit(
    address: str, job: str, command: str, snapshot: PackageSnapshot, about: Mapping[str, str]
) -> None:
    """Start `command` as the job called `job`. Raises InputError where no Ray answers."""
    client = _client(address)
    environment: dict[str, Any] = {
        "working_dir": str(snapshot.files),
        "py_modules": [str(snapshot.package)],
        "env_vars": dict(snapshot.environment),
    }
    try:
        client.submit_job(
            entrypoint=command, submission_id=job, runtime_env=environment, metadata=dict(about)
        )
    except RuntimeError as error:
        raise InputError(
            f"{address} did not take the job {job}: {first_line(error)}", "Look at its Ray's logs."
        ) from error


def status(address: str, job: str) -> tuple[str, str]:
    """The state of a job (PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED), and Ray's words."""
    info = _known(lambda client: client.get_job_info(job), address, job)
    return str(info.status), str(info.message or "")


def logs(address: str, job: str, follow: bool, say: Callable[[str], None]) -> None:
    """Pass on the job's output so far; with `follow` also its later output."""
    if not follow:
        say(_known(lambda client: client.get_job_logs(job), address, job).rstrip("\n"))
        return
    _known(lambda client: client.get_job_info(job), address, job)

    async def tail() -> None:
        async for lines in _client(address).tail_job_logs(job):
            say(lines.rstrip("\n"))

    asyncio.run(tail())


def wait(address: str, job: str, seconds: float | None = None) -> str:
    """The state in which a job ends, or the one it has after `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        state, _ = status(address, job)
        late = deadline is not None and time.monotonic() > deadline
        if state in ENDED or late:
            return state
        time.sleep(0.2)


def stop(address: str, job: str) -> str:
    """Stop a job; its state once it has ended."""
    _known(lambda client: client.stop_job(job), address, job)
    return wait(address, job, STOPPING)


def _client(address: str) -> JobSubmissionClient:
    # Ray reads its settings once, when it is imported.
    present_token()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"no Ray takes jobs at {address}: {first_line(error)}",
            "Give the address of a dashboard, such as http://HOST:8265.",
        ) from error
    except AuthenticationError as error:
        raise InputError(
            f"the Ray at {address} requires a token, and this machine has no valid one",
            "Copy ~/.ray/auth_token from its head node, or set RAY_AUTH_TOKEN.",
        ) from error


def _known(ask: Callable[[JobSubmissionClient], Any], address: str, job: str) -> Any:
    client = _client(address)
    try:
        return ask(client)
    except RuntimeError as error:
        raise InputError(
            f"{address} has no job {job}: {first_line(error)}", "Look at `ray job list`."
        ) from error
