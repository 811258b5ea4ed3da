"""Files that start a cluster: parsed, complete, their references resolved, the script executed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from steereval.common.errors import InputError
from steereval.ray_jobs.clusters.job import LONGEST_NAME, Job, Size
from steereval.ray_jobs.clusters.kuberay import FOLDER, LARGEST, manifest
from steereval.ray_jobs.clusters.ray_up import Cloud, cluster_file
from steereval.ray_jobs.clusters.slurm import script

pytestmark = pytest.mark.slow

ODD = "s3://bucket/a run?scheme=http&region=us-east-1"
JOB = Job("My grid, no. 1", "grid.yaml", ODD, ("--limit", "2"))
SIZES = [Size(1, 0, 4, 16), Size(2, 1, 8, 32), Size(16, 8, 96, 1024)]

each_size = pytest.mark.parametrize("size", SIZES, ids=["CPUs", "2 x 1", "16 x 8"])


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("quickstart", "steereval-quickstart"),
        ("My grid, no. 1", "steereval-my-grid-no-1"),
        ("x" * 99, "steereval-" + "x" * (LONGEST_NAME - len("steereval-"))),
        ("a" * 29 + " b", "steereval-" + "a" * 29),
    ],
)
def test_names_are_such_as_kubernetes_takes(name: str, slug: str) -> None:
    assert Job(name, "g", "o").slug == slug


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 8, 1, 1), "--nodes is 0"),
        ((1, -1, 1, 1), "--gpus-per-node is -1"),
        ((1, 0, 0, 1), "--cpus-per-node is 0"),
        ((1, 0, 1, 0), "--memory-per-node is 0"),
    ],
)
def test_sizes_that_cannot_be(numbers: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Size(*numbers)


# KubeRay

FILES = {
    "grid.yaml": b"name: g\nmodels: [m]\n",
    "pairs/mine.jsonl": "{'question': 'Größe?'}\n".encode(),
    "v.gguf": b"GGUF\xff\x00\xfe",
}


def documents(size: Size, secret: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    config, job = yaml.safe_load_all(manifest(JOB, FILES, size, "registry/image:1", secret))
    return config, job


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    spec = job["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@each_size
def test_a_ray_job_is_complete(size: Size) -> None:
    config, job = documents(size)
    assert (config["apiVersion"], config["kind"]) == ("v1", "ConfigMap")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"]["name"] == JOB.slug
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version("ray")
    (workers,) = cluster["workerGroupSpecs"]
    counts = {workers[key] for key in ("replicas", "minReplicas", "maxReplicas")}
    assert counts == {size.nodes}
    head, worker = pods(job)
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    limits = worker["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (str(size.gpus) if size.gpus else None)
    assert (limits["cpu"], limits["memory"]) == (str(size.cpus), f"{size.memory}Gi")
    for pod in (head, worker):
        (container,) = pod["containers"]
        assert container["image"] == "registry/image:1"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    values = [*limits.values(), *cluster["headGroupSpec"]["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in values), "Kubernetes takes quoted numbers"


def test_files_of_a_ray_job_arrive_under_their_names(tmp_path: Path) -> None:
    """What the volume shows in the head's container, made here as Kubernetes would."""
    config, job = documents(SIZES[1])
    head, _ = pods(job)
    (volume,) = (each["configMap"] for each in head["volumes"] if "configMap" in each)
    assert volume["name"] == config["metadata"]["name"]
    for item in volume["items"]:
        path = tmp_path / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if item["key"] in config["data"]:
            path.write_text(config["data"][item["key"]])
        else:
            path.write_bytes(base64.b64decode(config["binaryData"][item["key"]]))
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
    mounts = {m["name"]: m["mountPath"] for m in head["containers"][0]["volumeMounts"]}
    assert mounts["grid"] == FOLDER
    command = job["spec"]["entrypoint"]
    assert command == f"bash {FOLDER}/start.sh"
    run = (tmp_path / "start.sh").read_text().replace(FOLDER, str(tmp_path))
    calls = stub(tmp_path / "bin", "python")
    subprocess.run(["bash", "-c", run], env=searching(tmp_path / "bin"), check=True)
    (call,) = called(calls)
    assert call["arguments"] == [
        *("-m", "steereval", "run", "grid.yaml", "--out", ODD, "--limit", "2"),
        *("--progress", "lines", "--address", "auto"),
    ]
    assert call["folder"] == str(tmp_path)


def test_a_secret_reaches_every_container() -> None:
    _, job = documents(SIZES[1], "keys")
    for pod in pods(job):
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_files_that_are_too_large_to_travel() -> None:
    with pytest.raises(InputError, match=f"a ConfigMap holds {LARGEST}"):
        manifest(JOB, {"grid.yaml": b"x" * (LARGEST + 1)}, SIZES[0], "i")


# ray up


@each_size
def test_a_cluster_file_is_as_ray_wants_it(size: Size) -> None:
    import ray

    data = yaml.safe_load(cluster_file("g", size, Cloud("image:1", "eu-west-1", "big", "small")))
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(ray.__file__).parent / "autoscaler/ray-schema.json"
    jsonschema.validate(data, json.loads(schema.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | {"nodes": 3}, json.loads(schema.read_text()))
    kinds = data["available_node_types"]
    assert data["head_node_type"] in kinds
    workers = kinds["workers"]
    assert workers["min_workers"] == workers["max_workers"] == data["max_workers"] == size.nodes
    assert workers["resources"] == {"CPU": size.cpus, "GPU": size.gpus}
    assert workers["node_config"]["InstanceType"] == "big"
    assert kinds["head"]["resources"] == {"CPU": 0, "GPU": 0}, "or it would get a worker"
    assert "--address=$RAY_HEAD_IP:6379" in data["worker_start_ray_commands"][-1]
    assert "--port=6379" in data["head_start_ray_commands"][-1]


# Slurm

RECORD = """
import json, os, sys
with open({calls!r}, "a") as file:
    call = {{"name": {name!r}, "arguments": sys.argv[1:]}}
    call |= {{"folder": os.getcwd(), "pid": os.getpid(), "token": os.environ.get("RAY_AUTH_TOKEN")}}
    file.write(json.dumps(call) + "\\n")
"""


def stub(folder: Path, name: str, then: str = "") -> Path:
    """A program of that name in `folder`, which writes down how it was called."""
    folder.mkdir(exist_ok=True)
    calls = folder.parent / "calls"
    program = folder / name
    program.write_text(
        f"#!{sys.executable} -S\n" + RECORD.format(calls=str(calls), name=name) + then
    )
    program.chmod(0o755)
    return calls


def searching(folder: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def called(calls: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in calls.read_text().splitlines()]


SRUN = """
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
os.execvp(words[0], words)
"""
RAY = """
import time
if sys.argv[1] == "health-check":
    with open({calls!r}) as file:
        tries = file.read().count("health-check")
    if tries < 3:
        sys.exit("no answer yet")
    sys.exit()
if {fails!r}:
    sys.exit(3)
time.sleep(600)
"""
HOSTS = ["n1", "n2", "n3"]
OTHERS_RUN = """
import time
while True:
    with open({calls!r}) as file:
        calls = [json.loads(line) for line in file]
    if sum(c["name"] == "ray" and c["arguments"][0] == "start" for c in calls) == 2:
        break
    time.sleep(0.05)
"""


class Allocation:
    """A machine on which Slurm and Ray are stubs."""

    def __init__(self, folder: Path, *, hosts: list[str], ray_fails: bool = False) -> None:
        self.bin = folder / "bin"
        self.calls = stub(self.bin, "srun", SRUN)
        stub(self.bin, "scontrol", "".join(f"print({host!r})\n" for host in hosts))
        stub(self.bin, "hostname", "print('fe80::1 10.1.2.3 10.9.9.9')")
        stub(self.bin, "ray", RAY.format(calls=str(self.calls), fails=ray_fails))
        self.script = folder / "job.sh"
        self.folder = folder
        self.environment: dict[str, str] = {}

    def start(self, size: Size, driver: str = "") -> subprocess.Popen[str]:
        stub(self.bin, "python", driver)
        self.script.write_text(script(JOB, size, self.folder, "1:00:00"))
        given = {"SLURM_JOB_ID": "1207", "SLURM_JOB_NODELIST": "n[1-3]", **self.environment}
        environment = {
            name: value
            for name, value in (searching(self.bin) | given).items()
            if name in given or not name.startswith("RAY_AUTH")
        }
        return subprocess.Popen(
            ["bash", self.script], env=environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def of(self, name: str, *words: str) -> list[list[str]]:
        """Arguments of the calls of a program that hold all of `words`."""
        calls = [call["arguments"] for call in called(self.calls) if call["name"] == name]
        return [arguments for arguments in calls if set(words) <= set(arguments)]

    def left(self) -> list[int]:
        """Processes of Ray that still run."""
        result = [call["pid"] for call in called(self.calls) if call["name"] == "ray"]
        return [pid for pid in result if Path(f"/proc/{pid}").exists()]


def test_a_slurm_job_starts_ray_on_every_node_and_drives(tmp_path: Path) -> None:
    slurm = Allocation(tmp_path, hosts=HOSTS)
    process = slurm.start(SIZES[1], OTHERS_RUN.format(calls=str(slurm.calls)))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    port = 20000 + 10 * 7
    (head,) = slurm.of("ray", "--head")
    assert {"start", "--block", "--node-ip-address=10.1.2.3", f"--port={port}"} <= set(head)
    assert {"--num-cpus=8", "--num-gpus=1"} <= set(head)
    (other,) = slurm.of("ray", "start", f"--address=10.1.2.3:{port}")
    assert {"--block", "--num-cpus=8", "--num-gpus=1"} <= set(other)
    (on_head,) = slurm.of("srun", "--head")
    assert {"--nodes=1", "--ntasks=1", "--nodelist=n1", "--cpus-per-task=8"} <= set(on_head)
    (on_others,) = slurm.of("srun", f"--address=10.1.2.3:{port}")
    assert {"--nodes=2", "--ntasks=2", "--nodelist=n2,n3", "--overlap"} <= set(on_others)
    assert slurm.of("scontrol") == [["show", "hostnames", "n[1-3]"]]
    assert len(slurm.of("ray", "health-check", f"10.1.2.3:{port}")) == 3
    (driver,) = slurm.of("python")
    assert driver == [
        *("-m", "steereval", "run", "grid.yaml", "--out", ODD, "--limit", "2"),
        *("--progress", "lines", "--address", f"10.1.2.3:{port}"),
    ]
    assert slurm.left() == []


def test_only_processes_of_the_job_may_join(tmp_path: Path) -> None:
    """They have a token that nobody else has; a user who has decided otherwise is obeyed."""
    tokens = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        slurm = Allocation(tmp_path / name, hosts=["n1"])
        assert slurm.start(SIZES[0]).wait(timeout=60) == 0
        of_ray = {c["token"] for c in called(slurm.calls) if c["name"] in ("ray", "python")}
        assert len(of_ray) == 1
        tokens += of_ray
    assert len(set(tokens)) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)
    slurm.environment = {"RAY_AUTH_MODE": "disabled"}
    slurm.calls.unlink()
    assert slurm.start(SIZES[0]).wait(timeout=60) == 0
    assert {call["token"] for call in called(slurm.calls)} == {None}


def test_one_node_has_no_others(tmp_path: Path) -> None:
    slurm = Allocation(tmp_path, hosts=["only"])
    assert slurm.start(SIZES[0]).wait(timeout=60) == 0
    assert len(slurm.of("ray", "start")) == 1


@pytest.mark.parametrize("status", [1, 2, 130])
def test_the_status_is_the_drivers(tmp_path: Path, status: int) -> None:
    slurm = Allocation(tmp_path, hosts=HOSTS)
    assert slurm.start(SIZES[1], f"sys.exit({status})").wait(timeout=60) == status
    assert slurm.left() == []


def test_ray_that_does_not_start_is_said(tmp_path: Path) -> None:
    slurm = Allocation(tmp_path, hosts=HOSTS, ray_fails=True)
    process = slurm.start(SIZES[1])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "steereval: Ray did not start on n1: no answer yet" in errors
    assert slurm.of("python") == []


def test_a_job_whose_time_is_over_lets_the_driver_end(tmp_path: Path) -> None:
    """Slurm tells the script, which tells the driver and waits for it."""
    slurm = Allocation(tmp_path, hosts=HOSTS)
    marker = tmp_path / "told"
    driver = f"""
import signal, time
def stop(*_):
    time.sleep(0.3)
    open({str(marker)!r}, "w").close()
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
open({str(tmp_path / "drives")!r}, "w").close()
time.sleep(600)
"""
    process = slurm.start(SIZES[1], driver)
    deadline = time.monotonic() + 60
    while not (tmp_path / "drives").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert marker.exists()
    assert slurm.left() == []


@each_size
def test_what_slurm_is_asked_for(size: Size, tmp_path: Path) -> None:
    text = script(JOB, size, tmp_path / "a folder", "2:30:00", "gpu")
    lines = [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("#SBATCH ")]
    directives = dict(line[2:].partition("=")[::2] for line in lines)
    assert directives["nodes"] == str(size.nodes)
    assert directives["cpus-per-task"] == str(size.cpus)
    assert directives["mem"] == f"{size.memory}G"
    assert directives.get("gpus-per-node") == (str(size.gpus) if size.gpus else None)
    assert (directives["time"], directives["partition"]) == ("2:30:00", "gpu")
    assert directives["chdir"] == f"'{tmp_path}/a folder'"
    assert directives["signal"].startswith("B:TERM@")
    assert text.splitlines()[0] == "#!/bin/bash"
    first = next(i for i, line in enumerate(text.splitlines()[1:]) if not line.startswith("#"))
    assert first == len(lines), "Slurm reads no options behind the first command"


@pytest.mark.parametrize("partition", [None, "gpu"])
def test_the_script_passes_shellcheck(tmp_path: Path, partition: str | None) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "job.sh"
    path.write_text(script(JOB, SIZES[1], tmp_path, "1:00:00", partition))
    process = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout
