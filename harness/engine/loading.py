"""Worker settings and the model that a worker loads."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from steereval.harness.config.grid import ModelSpec
from steereval.harness.config.model_options import loader_options
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.cell import Cell
from steereval.models.inference.memory import keep_freed_memory
from steereval.models.inference.operations import count_operations
from steereval.results.store.content import Content
from steereval.tasks.catalogue.included import IncludedFiles


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker; none of them changes a row."""

    run_folder: str
    """Where rows go: a path or a URI."""
    data_dir: str | None
    """Folder with benchmark data."""
    batch_size: int
    """Prompts that generate together, and rows of the plain likelihood path."""
    device: str
    """Device, or `auto`."""
    cells: tuple[Cell, ...] = ()
    """One cell of every fit that the run needs, so that workers can read ahead."""
    profile: bool = False
    """Whether to measure where the time goes."""
    lease: str = ""
    """The driver that rows are stored for; nothing is stored once another has taken over."""
    repeat_batch_size: int | None = None
    """Batch size of cells that are computed a second time; None: that of the others."""
    content: Content | None = None
    """Content that the run began with; a worker refuses to load other content. None: no check."""
    included: tuple[IncludedFiles, ...] = ()
    """The files of the user's own tasks, which a worker puts into the cache of its machine."""

    def publish_included(self) -> None:
        """Have the files of the user's own tasks on this machine. Raises StoreError."""
        for files in self.included:
            files.publish()

    def batch_size_of(self, cell: Cell) -> int:
        """The batch size with which `cell` is answered."""
        return (cell.is_repeat and self.repeat_batch_size) or self.batch_size


def device_of(settings: WorkerSettings) -> str:
    """The device that the settings ask for."""
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def load_model(spec: ModelSpec, settings: WorkerSettings) -> SteeredLM:
    """The language model of `spec`, unsteered until a treatment is set. Raises ModelError."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device = device_of(settings)
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    options = {
        # In bfloat16 the logarithms of probabilities would be rounded to a sixteenth.
        "softmax_dtype": "float32",
        **loader_options(spec),
    }
    lm = SteeredLM(
        spec.name,
        method="none",
        revision=spec.revision,
        dtype=spec.dtype,
        peft=spec.peft,
        device=device,
        batch_size=settings.batch_size,
        parallelize=spec.gpus > 1 and torch.cuda.device_count() > 1,
        **options,
    )
    lm.quiet = True
    count_operations(lm.model)
    return lm
