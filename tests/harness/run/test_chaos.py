"""Runs of which parts are killed, hang or fail, again and again: nothing is lost in the end.

make test-chaos
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.compute as pc
import pytest
import yaml
from small_grid import same_tables, small_grid

from steereval.harness.config.grid import load_grid
from steereval.harness.planning.plan import make_plan
from steereval.results.store.run_folder import FAILED, RunFolder

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3000)]

KILLS = 21
"""Deaths that one run survives: a third each of workers, of nodes and of drivers."""
HOOK = """
import os, pathlib, signal, time
folder = os.path.dirname(os.path.abspath(__file__))
replace = os.replace
def called(name):
    path = os.path.join(folder, name)
    try:
        return open(path).read()
    except OSError:
        return None
def once(name):
    try:
        os.remove(os.path.join(folder, name))
    except OSError:
        return False
    return True
def slow(source, target, **kwargs):
    target = pathlib.Path(target)
    if "/cells/" in str(target):
        time.sleep(float(called("slow") or 0))
        if once("hang"):
            time.sleep(3600)
        if once("memory"):
            os.kill(os.getpid(), signal.SIGKILL)
        deadly = called("deadly")
        if deadly and target.name == deadly + ".parquet":
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target, **kwargs)
os.replace = slow
"""
"""Put before the program in Python's path: files beside it say what goes wrong with a write."""


class Trouble:
    """A folder that decides what goes wrong in processes that have it in their path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(HOOK)

    def set(self, name: str, text: str = "") -> None:
        (self.folder / name).write_text(text)

    def clear(self) -> None:
        for name in ("slow", "hang", "memory", "deadly"):
            (self.folder / name).unlink(missing_ok=True)


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    instance = Trouble(tmp_path / "trouble")
    monkeypatch.setenv("PYTHONPATH", str(instance.folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return instance


def start(grid: Path, out: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "steereval", "run", str(grid), "--out", str(out)]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--no-report", "--progress", "lines", *map(str, arguments)],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def run(grid: Path, out: Path, *arguments: object) -> int:
    return start(grid, out, *arguments).wait(timeout=600)


def write_grid(path: Path, model: str, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(small_grid(model, **changes)))
    return path


@pytest.fixture
def grid(tmp_path: Path, tiny_folder: str) -> Path:
    """Groups are tried more often than they are killed: cut in halves, other last bits came out."""
    return write_grid(tmp_path / "grid.yaml", tiny_folder, run={"retries": 100})


@pytest.fixture(scope="module")
def quiet(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happens to."""
    folder = tmp_path_factory.mktemp("quiet")
    path = write_grid(folder / "grid.yaml", tiny_folder)
    assert run(path, folder / "run") == 0
    return folder / "run"


def processes(name: str) -> list[psutil.Process]:
    """Living processes whose title or command contains `name`."""
    result = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                result.append(process)
    return result


def being_written(out: Path) -> set[Path]:
    return set((out / "cells").glob(".tmp-*"))


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Nodes:
    """A Ray of a head without workers and two nodes, of which one may die at any moment."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.workers = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.cluster.wait_for_nodes()

    def kill_one(self, chance: random.Random) -> None:
        """SIGKILL the raylet of one node, and let another take its place."""
        from ray._private.ray_constants import PROCESS_TYPE_RAYLET

        lost = self.workers.pop(chance.randrange(2))
        (raylet,) = lost.all_processes[PROCESS_TYPE_RAYLET]
        os.kill(raylet.process.pid, signal.SIGKILL)
        raylet.process.wait()
        self.cluster.remove_node(lost, allow_graceful=False)
        self.workers.append(self.cluster.add_node(num_cpus=1))


@pytest.fixture
def nodes(trouble: Trouble) -> Iterator[Nodes]:
    result = Nodes()
    yield result
    result.cluster.shutdown()


class Killing:
    """A run of which one part after the other dies, some of them while a cell is written."""

    def __init__(self, grid: Path, out: Path, nodes: Nodes, chance: random.Random) -> None:
        self.grid, self.out, self.nodes, self.chance = grid, out, nodes, chance
        self.seen: set[Path] = set()
        self.driver = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        address = self.nodes.cluster.address
        return start(self.grid, self.out, "--address", address, "--workers", 2)

    def fresh(self) -> set[Path]:
        """Files that are being written now: those of the dead stay half written."""
        return being_written(self.out) - self.seen

    def over(self) -> bool:
        return self.driver.poll() is not None

    def moment(self) -> bool:
        """Wait for the moment of the next death; False if the run has ended before."""
        result = wait_until(lambda: self.fresh() or self.over(), 120)
        assert result, "the run neither went on nor ended"
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, 1.5))
        return not self.over()

    def kill(self, kind: str) -> bool:
        """Let a part of this kind die; whether that was while a cell was written."""
        fresh = self.fresh()
        if kind == "worker":
            with suppress(psutil.NoSuchProcess, IndexError):
                self.chance.choice(processes("ray::_Actor")).kill()
        elif kind == "node":
            self.nodes.kill_one(self.chance)
        else:
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
        # Its write takes a moment: what is still half written after it will stay so.
        time.sleep(0.5)
        hit = bool(fresh & being_written(self.out))
        self.seen |= being_written(self.out)
        if kind == "driver":
            self.driver = self.start()
        return hit


def test_killed_again_and_again(
    grid: Path, quiet: Path, nodes: Nodes, trouble: Trouble, tmp_path: Path
) -> None:
    """Workers, nodes and drivers die at random moments. A run that gets to its end must be whole
    and equal to the quiet one; then another begins, until all have died."""
    chance = random.Random(11)
    # A write takes long enough to be hit.
    trouble.set("slow", "0.2")
    kinds = ["worker", "node", "driver"] * (KILLS // 3)
    hits = rounds = 0
    while kinds:
        rounds += 1
        killing = Killing(grid, tmp_path / f"round{rounds}", nodes, chance)
        while kinds and killing.moment():
            hits += killing.kill(kinds.pop(0))
        status = killing.driver.wait(timeout=600)
        assert status == 0, killing.out.with_suffix(".log").read_text()
        same_tables(killing.out, quiet)
        assert not being_written(killing.out)
    print(f"{KILLS} deaths in {rounds} runs, {hits} of them while a cell was being written")
    assert hits >= 3, "too few fell while a cell was being written"


def test_a_driver_that_started_its_own_ray_dies(
    grid: Path, quiet: Path, trouble: Trouble, tmp_path: Path
) -> None:
    """Its workers do not outlive it for long, and what they still store does no harm."""
    trouble.set("slow", "0.2")
    out = tmp_path / "run"
    for _ in range(3):
        begun = being_written(out)
        driver = start(grid, out, "--address", "local", "--workers", 2)
        assert wait_until(lambda: being_written(out) - begun, 120), "nothing was written"  # noqa: B023
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    trouble.clear()
    assert run(grid, out, "--address", "local", "--workers", 2) == 0
    same_tables(out, quiet)


def test_a_worker_that_hangs(grid: Path, quiet: Path, trouble: Trouble, tmp_path: Path) -> None:
    """Is ended at its limit; another does its work."""
    trouble.set("hang")
    out = tmp_path / "run"
    status = run(grid, out, "--address", "local", "--workers", 2, "--time-limit", 2.5)
    assert status == 0, out.with_suffix(".log").read_text()
    assert not (trouble.folder / "hang").exists(), "nothing hung"
    same_tables(out, quiet)


def test_a_worker_that_is_killed_for_memory(
    grid: Path, quiet: Path, trouble: Trouble, tmp_path: Path
) -> None:
    trouble.set("memory")
    out = tmp_path / "run"
    assert run(grid, out, "--address", "local", "--workers", 2) == 0
    assert not (trouble.folder / "memory").exists(), "nobody was killed"
    same_tables(out, quiet)


def test_a_cell_that_kills_every_worker(
    tiny_folder: str, quiet: Path, trouble: Trouble, tmp_path: Path
) -> None:
    """It fails, with the reason; the rest is there. Gone on with, all is."""
    grid = write_grid(tmp_path / "grid.yaml", tiny_folder, run={"retries": 0})
    deadly = make_plan(load_grid(grid))[3].id
    trouble.set("deadly", deadly)
    out = tmp_path / "run"
    assert run(grid, out, "--address", "local", "--workers", 2) == 1
    records = RunFolder(out).records()
    assert [id for id, record in records.items() if record.status == FAILED] == [deadly]
    assert "its worker was lost 1 times" in records[deadly].error.message
    trouble.clear()
    assert run(grid, out) == 0
    one, other = (RunFolder(each).read_items().sort_by(
        [(key, "ascending") for key in ("cell_id", "metric", "item_id")]) for each in (out, quiet)
    )  # fmt: skip
    assert one.drop("value").equals(other.drop("value"))
    # Its group was cut until the deadly cell was alone: other last bits than the whole group's.
    gap = pc.max(pc.abs(pc.subtract(one["value"], other["value"]))).as_py()
    assert gap < 1e-4


def test_a_full_disk(grid: Path, quiet: Path, tmp_path: Path) -> None:
    """The run says so and ends, what was stored stays, and with room it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        out = disk / "run"
        log = tmp_path / "full.log"
        command = [sys.executable, "-m", "steereval", "run", str(grid), "--out", str(out)]
        first = subprocess.run([*command, "--no-report"], capture_output=True, text=True)
        log.write_text(first.stderr)
        assert first.returncode != 0
        assert "No space left on device" in first.stderr
        assert "Free some space and start the run again" in first.stderr
        assert "Traceback" not in first.stderr
        finished = RunFolder(out).finished()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert finished <= RunFolder(out).finished()
        again = subprocess.run([*command, "--no-report"], capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        same_tables(out, quiet)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_model_that_does_not_load(
    grid: Path, tiny_folder: str, tmp_path: Path, trouble: Trouble
) -> None:
    """Its cells fail and say why, those of the other model are there; mended, all are."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    weights = next(broken.glob("*.safetensors"))
    good = weights.read_bytes()
    weights.write_bytes(good[: len(good) // 2])
    models = [{"name": tiny_folder, "layers": [1]}, {"name": str(broken), "layers": [1]}]
    path = write_grid(tmp_path / "two.yaml", tiny_folder, models=models)
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert run(path, out, "--address", "local", "--workers", 2) == 1
    records = RunFolder(out).records().values()
    failed = [record for record in records if record.status == FAILED]
    assert {record.identity["model"]["name"] for record in failed} == {str(broken)}
    assert len(failed) * 2 == len(list(records))
    assert all("cannot be loaded" in record.error.message for record in failed)
    weights.write_bytes(good)
    assert run(path, out, "--address", "local", "--workers", 2) == 0
    assert run(path, whole) == 0
    same_tables(out, whole)


def test_activations_that_are_not_numbers(tiny_folder: str, tmp_path: Path) -> None:
    """The cells that they concern fail, naming layer and method, and nothing of it is kept."""
    from safetensors.torch import load_file, save_file

    sick = tmp_path / "sick"
    shutil.copytree(tiny_folder, sick)
    weights = next(sick.glob("*.safetensors"))
    good = weights.read_bytes()
    tensors = load_file(weights)
    name = next(each for each in tensors if "layers.1.mlp.down_proj" in each)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    path = write_grid(tmp_path / "sick.yaml", str(sick))
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert run(path, out) == 1
    records = RunFolder(out).records().values()
    assert {record.status for record in records} == {FAILED}
    for record in records:
        steered = " layer " in record.name
        words = "activations at layer 1 are not finite" if steered else "are not finite"
        assert words in record.error.message, record.name
    weights.write_bytes(good)
    assert run(path, out) == 0
    assert run(path, whole) == 0
    same_tables(out, whole)
