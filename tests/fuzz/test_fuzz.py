"""Readers of files that may come from anyone: an error of ours or a value, soon and in little room.

make fuzz                      20 000 inputs over all readers
FUZZ_INPUTS=300 FUZZ_SEED=2 pytest tests/fuzz
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from fuzz_mutations import damaged
from lm_eval_log import sample, write_log
from safetensors.torch import save_file

from steereval.common.errors import SteerEvalError
from steereval.harness.config.grid import load_grid
from steereval.harness.planning.plan import make_plan
from steereval.models import fit_steerer
from steereval.models.artefacts.artefact import load_artefact
from steereval.models.steering.hook_points import Site
from steereval.models.vectors.gguf_control_vector import write_gguf
from steereval.models.vectors.read import read_vectors
from steereval.results.lm_eval.sample_files import read_sample_file
from steereval.results.report import report_reader
from steereval.results.store.archive import write_archive
from steereval.results.store.lease import holder
from steereval.results.store.progress import read_progress
from steereval.results.store.query import query
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.unpack import unpack
from steereval.results.verification import verify_tables
from steereval.tasks.contrast.user_file import read_contrast_file

pytestmark = pytest.mark.slow

INPUTS = int(os.environ.get("FUZZ_INPUTS", "900"))
"""Inputs over all readers."""
SEED = os.environ.get("FUZZ_SEED", "")
"""Another text gives other inputs."""
MOST_SECONDS, MOST_BYTES = 10.0, 1 << 30
GRID = {
    "name": "g",
    "models": [{"name": "smollm2-135m", "layers": [1, [2, 3]]}],
    "contrast": {"name": "truthful-mini", "fraction": 0.5},
    "methods": ["none", {"name": "caa", "strengths": [1, 2.5], "options": {}}],
    "tasks": [{"name": "truthful_mini_mc", "limit": 4}],
    "seeds": {"fit": [0, 1]},
    "select": {"on": "validation", "share": 0.25},
    "analysis": {"baseline": "none", "confidence": 0.95},
}
SQL = (
    "select method, avg(value) from rows group by method",
    "select * from rows r join cells c on r.cell_id = c.cell_id where value > 0.5 limit 3",
    "with a as (values (1), (2)) select sum(col0) from a",
)


class Files:
    """A valid file for each reader, and the readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        methods = (FakeMethod("helps", (1.0,), lambda task, strength: 0.3),)
        self.run = write_run(FakeRun(methods, (FakeTask("truth", n_test=20),)), folder / "run")
        archive = folder / "run.tar.gz"
        write_archive(self.run, archive)
        write_archive(self.run, folder / "run.zip")
        draw = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0))
        fit_steerer("odesteer", *draw, components=4).save(folder / "steerer", layer=1)
        torch.save({1: draw[0, 0]}, folder / "v.pt")
        save_file({"layer.1": draw[0, 0]}, folder / "v.safetensors")
        np.savez(folder / "v.npz", **{"1": draw[0, 0].numpy()})
        np.save(folder / "v.npy", draw[0, 0].numpy())
        write_gguf({Site(1): draw[0, 0]}, folder / "v.gguf")
        (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
        (folder / "grid.json").write_text(json.dumps(GRID))
        pairs = [{"question": "q?", "answer": f"a{n}", "label": n % 2} for n in range(4)]
        (folder / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
        self.log = write_log(folder / "logs", [sample(n, {"acc": 1.0}) for n in range(3)])
        self.cell = next((self.run.path / "cells").glob("*.parquet")).stem

    def copy(self) -> RunFolder:
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.run.path, target)
        return RunFolder(target)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("fuzz"))


def planned(path: Path) -> None:
    make_plan(load_grid(path))


def vectors(path: Path) -> None:
    read_vectors(path, sites=[Site(1)])


def with_part(files: Files, name: str, data: bytes) -> None:
    """A run in which the file `name` is damaged, read in every way."""
    run = files.copy()
    (run.path / name).write_bytes(data)
    for read in (
        lambda: run.read_manifest(), lambda: run.records(), lambda: run.finished(),
        lambda: list(run.iter_items()), lambda: read_progress(run.place),
        lambda: holder(run.place), lambda: list(verify_tables(run, report_reader(run), True)),
    ):  # fmt: skip
        tolerant(read)


def tolerant(read: Callable[[], object]) -> None:
    raised: SteerEvalError | None = None
    try:
        read()
    except SteerEvalError as error:
        raised = error
    if raised is not None:
        assert "\n" not in raised.problem.strip(), raised.problem
        assert len(raised.problem) < 3000


def unpacked(files: Files, path: Path) -> None:
    target = files.folder / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    unpack(path, target)


def answered(files: Files, data: bytes) -> None:
    text = data.decode(errors="replace")
    list(zip(range(100), query(files.run, text).rows, strict=False))


def steerer(files: Files, name: str, data: bytes) -> None:
    target = files.folder / "damaged-steerer"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(files.folder / "steerer", target)
    (target / name).write_bytes(data)
    load_artefact(target)


def of_file(read: Callable[[Path], object], name: str) -> Any:
    def source(files: Files) -> tuple[bytes, Callable[[bytes], object]]:
        path = files.folder / f"damaged-{Path(name).name}"

        def reader(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return (files.folder / name).read_bytes(), reader

    return source


def of_run(name: str) -> Any:
    def source(files: Files) -> tuple[bytes, Callable[[bytes], object]]:
        part = name.format(cell=files.cell)
        path = files.run.path / part
        data = path.read_bytes() if path.exists() else b'{"id": "x", "pid": 1}'
        return data, lambda changed: with_part(files, part, changed)

    return source


def of_log(files: Files) -> tuple[bytes, Callable[[bytes], object]]:
    folder = files.folder / "damaged-logs"
    shutil.copytree(files.log.parent, folder, dirs_exist_ok=True)

    def reader(data: bytes) -> object:
        (folder / files.log.name).write_bytes(data)
        return read_sample_file(folder / files.log.name)

    return files.log.read_bytes(), reader


def of_results(files: Files) -> tuple[bytes, Callable[[bytes], object]]:
    folder = files.folder / "damaged-results"
    shutil.copytree(files.log.parent, folder, dirs_exist_ok=True)
    (path,) = folder.glob("results_*.json")

    def reader(data: bytes) -> object:
        path.write_bytes(data)
        return read_sample_file(folder / files.log.name)

    return path.read_bytes(), reader


def of_archive(name: str) -> Any:
    return lambda files: of_file(lambda path: unpacked(files, path), name)(files)


SOURCES: dict[str, Any] = {
    "grid": of_file(planned, "grid.yaml"),
    "grid as JSON": of_file(planned, "grid.json"),
    "contrast": of_file(read_contrast_file, "pairs.jsonl"),
    "samples": of_log,
    "results": of_results,
    "vector.pt": of_file(vectors, "v.pt"),
    "vector.safetensors": of_file(vectors, "v.safetensors"),
    "vector.npz": of_file(vectors, "v.npz"),
    "vector.npy": of_file(vectors, "v.npy"),
    "vector.gguf": of_file(vectors, "v.gguf"),
    "steerer card": lambda files: (
        (files.folder / "steerer" / "steerer.json").read_bytes(),
        lambda data: steerer(files, "steerer.json", data),
    ),
    "steerer tensors": lambda files: (
        (files.folder / "steerer" / "steerer.safetensors").read_bytes(),
        lambda data: steerer(files, "steerer.safetensors", data),
    ),
    "manifest": of_run("manifest.json"),
    "record": of_run("cells/{cell}.json"),
    "rows": of_run("cells/{cell}.parquet"),
    "progress": of_run("progress.json"),
    "driver": of_run("driver.json"),
    "archive.tar.gz": of_archive("run.tar.gz"),
    "archive.zip": of_archive("run.zip"),
    "query": lambda files: (
        SQL[0].encode(), lambda data: answered(files, data),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_damaged_input_is_an_error_of_ours(files: Files, name: str) -> None:
    data, reader = SOURCES[name](files)
    reader(data)  # the file itself is fine
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    for number in range(max(1, INPUTS // len(SOURCES))):
        changed = damaged(data, random.Random(f"{SEED}{name} {number}"))
        start = time.perf_counter()
        try:
            tolerant(partial(reader, changed))
        except Exception as error:
            raise AssertionError(
                f"input {number} of {name!r} ({changed[:80]!r}...) raised {error!r}"
            ) from error
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < MOST_SECONDS
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_BYTES
