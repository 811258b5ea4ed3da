"""Machines that share nothing but a Ray read a contrast set once between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from hearing import Hearing

from steereval.ray_jobs.ray_executor import RayExecutor
from steereval.ray_jobs.work import Work


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[None]:
    """Two nodes, each with a cache of its own."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for name in ("one", "other"):
        cluster.add_node(num_cpus=1, env_vars={"STEEREVAL_CACHE": str(tmp_path / name)})
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.chaos
@pytest.mark.usefixtures("nodes")
def test_two_nodes_read_a_contrast_once(tiny_folder: str, tmp_path: Path) -> None:
    """Both ask at the same time, have the same states, and keep them for their next run."""
    folder, meeting = tiny_folder, str(tmp_path)

    class Toy:
        def run(self, units: tuple[str, ...], last: bool) -> Any:
            import hashlib
            import time
            from pathlib import Path

            from steereval.common.paths import cache_folder
            from steereval.harness.config.grid import ModelSpec
            from steereval.harness.engine.loading import WorkerSettings, load_model
            from steereval.models.steering.hook_points import Site
            from steereval.ray_jobs.work import Done
            from steereval.tasks.contrast.registry import load_contrast

            lm = load_model(ModelSpec(folder, ()), WorkerSettings("", None, 1, "cpu"))
            contrast = load_contrast("truthful-mini", answers="best")
            (Path(meeting) / f"came-{units[0]}").touch()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and len(list(Path(meeting).glob("came-*"))) < 2:
                time.sleep(0.02)
            wanted = {"last": [Site(0), Site(1)]}
            states = lm.fitter.store.states(contrast, "qa", wanted)
            digest = hashlib.sha256()
            for site in wanted["last"]:
                digest.update(states["last"][site].numpy().tobytes())
            return Done((str(cache_folder()), lm.fitter.store.passes, digest.hexdigest()))

    works = [Work(f"w{n}", (str(n),), 1.0, f"a{n}", load=9.0) for n in range(2)]
    heard = Hearing()
    with RayExecutor(2) as executor:
        executor.run(works, Toy, heard)
    assert [outcome.error for outcome in heard.outcomes] == [None, None]
    caches, passes, states = zip(*(outcome.result for outcome in heard.outcomes), strict=True)
    assert set(caches) == {str(tmp_path / "one"), str(tmp_path / "other")}
    assert sum(passes) == 1
    assert len(set(states)) == 1
    saved = [sorted(path.name for path in Path(cache).rglob("*.safetensors")) for cache in caches]
    assert saved[0] == saved[1]
    assert len(saved[0]) == 2
