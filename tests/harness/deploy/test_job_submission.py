"""Real Rays on this machine: one started for a run, one of two nodes, one that takes jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from own_tasks import EXAMPLE_SIZES, copied_example
from small_grid import same_tables, small_grid

from steereval.results.store.run_folder import RunFolder

EXAMPLES = Path(__file__).parents[3] / "examples"
TOKEN = "0123456789abcdef" * 4
"""Without it the head that takes jobs answers nobody."""
WITHOUT_PACKAGE = """
import sys
import os
sys.path[:] = [each for each in sys.path if not os.path.exists(f"{each}/_steereval_hook.py")]
"""
"""Put before the program in Python's path: the package is not found where it was not sent."""


def steereval(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "steereval", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def grid(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump(small_grid(tiny_folder)))
    return path


@pytest.fixture(scope="module")
def serial(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("serial") / "run"
    process = steereval("run", grid, "--out", out, "--no-report")
    assert process.returncode == 0, process.stderr
    return out


@pytest.mark.chaos
def test_a_ray_started_for_the_run_gives_the_same_tables(
    grid: Path, serial: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = steereval(
        "run", grid, "--out", out, "--no-report", "--address", "local", "--workers", 2
    )
    assert process.returncode == 0, process.stderr
    same_tables(out, serial)
    assert not (out / "driver.json").exists()


@pytest.mark.chaos
def test_two_nodes_give_the_same_tables(grid: Path, serial: Path, tmp_path: Path) -> None:
    """One worker on each, told to a run that is watched as JSON."""
    from ray.cluster_utils import Cluster

    out = tmp_path / "run"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = steereval(
            "run", grid, "--out", out, "--no-report", "--progress", "json",
            "--address", cluster.address, "--workers", 2,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        lines = [json.loads(line) for line in process.stderr.splitlines() if line.startswith("{")]
        nodes = {name.rpartition("(")[2] for line in lines for name in line["running"]}
        assert len(nodes) == 2
        assert lines[-1]["state"] == "ended"
        assert lines[-1]["done"] == lines[-1]["planned"]
    finally:
        cluster.shutdown()
    same_tables(out, serial)


@pytest.mark.chaos
def test_a_run_that_is_stopped_reports_it(grid: Path, serial: Path, tmp_path: Path) -> None:
    """And ends what it started; a later start goes on."""
    out = tmp_path / "run"
    arguments = ["run", str(grid), "--out", str(out), "--no-report", "--workers", "2"]
    command = [sys.executable, "-m", "steereval", *arguments, "--progress", "json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first_state = next(line for line in process.stderr if line.startswith("{"))
    assert json.loads(first_state)["state"] == "running"
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "steereval: interrupted" in error
    assert "SIGTERM" not in error
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert steereval(*arguments).returncode == 0
    same_tables(out, serial)


@dataclass
class Head:
    """A Ray that takes jobs, on which the package is not installed."""

    address: str
    process: subprocess.Popen[bytes]
    temporary: str


def free_port() -> int:
    with socket.socket() as result:
        result.bind(("127.0.0.1", 0))
        return int(result.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    with pytest.MonkeyPatch.context() as patch:
        # The mode is left for the program to find out.
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield from started(folder)


def started(folder: Path) -> Iterator[Head]:
    (folder / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }
    missing = subprocess.run([sys.executable, "-c", "import steereval"], env=environment,
                             capture_output=True)  # fmt: skip
    if missing.returncode == 0:
        pytest.skip("the package is installed as a copy, so that it is found everywhere")
    # Paths of sockets are short: not below pytest's folder.
    temporary = f"/tmp/ray-{os.getpid()}"
    port = free_port()
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
    command += [f"--port={free_port()}", f"--dashboard-port={port}", "--num-cpus=2"]
    process = subprocess.Popen(
        [*command, f"--temp-dir={temporary}"], env=environment, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not answers(f"{address}/api/version"):
        assert time.monotonic() < deadline, "Ray did not start"
        assert process.poll() is None, "Ray ended"
        time.sleep(0.5)
    yield Head(address, process, temporary)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.chaos
@pytest.mark.real
def test_a_submitted_run_ends_in_a_report(head: Head, tmp_path: Path) -> None:
    """On workers that do not have the package; its log is shown, and its id goes on to serve."""
    out = tmp_path / "run"
    process = steereval(
        "submit", EXAMPLES / "quickstart.yaml", "--address", head.address, "--out", out,
        "--limit", 2, "--workers", 2,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    run = process.stdout.strip()
    assert "[48/48]" in process.stderr
    assert f"{run}: SUCCEEDED" in process.stderr
    assert (out / "report" / "index.html").exists()
    assert len(RunFolder(out).finished()) == 48
    assert f"{run}: SUCCEEDED" in steereval("status", run).stdout
    assert "48 of 48 cells done" in steereval("status", run).stdout
    assert "[48/48]" in steereval("logs", run).stdout
    assert steereval("report", run).stdout.strip() == f"{out}/report/index.html"
    elsewhere = steereval("status", run, "--address", head.address, STEEREVAL_CACHE=str(tmp_path))
    assert f"{run}: SUCCEEDED" in elsewhere.stdout


@pytest.mark.chaos
@pytest.mark.real
def test_a_cancelled_run_stops_and_can_be_resumed(
    head: Head, grid: Path, serial: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = steereval(
        "submit", EXAMPLES / "quickstart.yaml", "--address", head.address, "--out", out,
        "--no-wait",
    )  # fmt: skip
    run = process.stdout.strip()
    deadline = time.monotonic() + 120
    while "running" not in steereval("status", run).stdout.partition("\n")[2]:
        assert time.monotonic() < deadline, steereval("logs", run).stdout
    start = time.monotonic()
    stopped = steereval("cancel", run)
    assert time.monotonic() - start < 10 + 5, "the command's own start is not part of it"
    assert f"{run}: STOPPED" in stopped.stdout
    assert not list(out.rglob(".tmp-*"))
    assert RunFolder(out).exists()
    again = steereval(
        "submit", EXAMPLES / "quickstart.yaml", "--address", head.address, "--out", out,
        "--limit", 2,
    )  # fmt: skip
    assert again.returncode != 0, "the cells of another limit are another run's"
    assert "holds another run" in again.stderr


@pytest.mark.chaos
def test_own_tasks_are_submitted(
    head: Head, tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder outside the repository, to workers that lack the package and the folder."""
    grid = copied_example(tmp_path / "here" / "own-task", tiny_folder, 32)
    monkeypatch.chdir(grid.parent)
    local, out = tmp_path / "local", tmp_path / "run"
    run = steereval("run", grid.name, "--out", local, "--no-report")
    assert run.returncode == 0, run.stderr
    # The head's machine is this one: neither the folder nor the cache of this user may serve.
    elsewhere = tmp_path / "cache"
    submitted = steereval(
        "submit", grid.name, "--address", head.address, "--out", out, "--workers", 2,
        "--env", f"STEEREVAL_CACHE={elsewhere}", "--no-wait",
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    grid.parent.rename(tmp_path / "away")
    monkeypatch.chdir(tmp_path)
    deadline = time.monotonic() + 240
    while "SUCCEEDED" not in (state := steereval("status", submitted.stdout.strip()).stdout):
        assert "FAILED" not in state, state
        assert time.monotonic() < deadline, state
        time.sleep(2)
    same_tables(out, local)
    items = RunFolder(out).read_items().to_pylist()
    sizes = {
        task: len({row["item_id"] for row in items if row["task"] == task})
        for task in EXAMPLE_SIZES
    }
    assert sizes == EXAMPLE_SIZES
    assert list((elsewhere / "included-tasks").glob("*/utils.py"))
    assert list((out / "own_tasks").glob("*/replies.jsonl"))


@pytest.mark.chaos
def test_counters_are_reported_to_ray(head: Head, grid: Path, tmp_path: Path) -> None:
    """In the format that Prometheus reads."""
    process = steereval(
        "submit", grid, "--address", head.address, "--out", tmp_path / "run", "--workers", 2
    )
    assert process.returncode == 0, process.stderr
    request = urllib.request.Request(
        f"{head.address}/nodes?view=summary", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    summary: dict[str, Any] = json.loads(urllib.request.urlopen(request, timeout=10).read())
    (node,) = summary["data"]["summary"]
    port = node["raylet"]["metricsExportPort"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = urllib.request.urlopen(f"http://{node['ip']}:{port}/metrics", timeout=10).read()
        if re.search(rb'steereval_cells_total\{.*status="done".*\} \d', text):
            return
        time.sleep(1)
    pytest.fail("no counter of cells")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "logs", "cancel"])
def test_a_run_that_is_unknown(command: str) -> None:
    process = steereval(command, "no-such-run")
    assert process.returncode == 2
    assert "no-such-run" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_no_ray_at_the_address(grid: Path, tmp_path: Path) -> None:
    process = steereval(
        "submit", grid, "--address", "http://127.0.0.1:1", "--out", tmp_path / "run"
    )
    assert process.returncode == 2
    assert "no Ray takes jobs at http://127.0.0.1:1" in process.stderr
