"""Running cells: a worker that keeps its model and answers for a group of cells at once."""

from __future__ import annotations

import logging
import os
import platform
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from steereval.arms import Answers, check_steered
from steereval.cards import claimed
from steereval.content import Witness
from steereval.errors import CellError, SteerEvalError, StoreError
from steereval.fitting import FitRequest, Lower, Treatment, fitted, unfitted, unsteered
from steereval.models.clock import Clock, measured, phase
from steereval.models.hooks import Tally
from steereval.models.memory import keep_freed_memory, ran_out, release
from steereval.models.positions import Positions
from steereval.plan import Cell, group_id
from steereval.ray_jobs.work import Done
from steereval.replay import Book, Replay, evaluated
from steereval.results.content import Content
from steereval.results.lease import check_driver
from steereval.results.profiles import Profile, write_profile
from steereval.results.samples import response_rows, without_direction, without_numbers
from steereval.results.schema import ITEM_SCHEMA, RESPONSE_SCHEMA
from steereval.results.store import RunFolder
from steereval.rows import (
    assign_splits,
    contents,
    directions,
    generated,
    item_rows,
    perplexity_rows,
    texts_of,
    wants_perplexity,
)
from steereval.spec import ModelSpec
from steereval.steered_lm import SteeredLM
from steereval.supplies import Supplies, own_text
from steereval.tasks.catalogue import card
from steereval.together import Joined, one_of_each_arm, one_of_each_task, tasks_named, wanted
from steereval.versions import versions


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs beside the cells; none of it changes a row."""

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
    """What the run began with, to which a worker holds what it loads; None: to nothing."""

    def batch_size_of(self, cell: Cell) -> int:
        """The batch size with which `cell` is answered."""
        return (cell.is_repeat and self.repeat_batch_size) or self.batch_size


@dataclass
class Answered:
    """Cells that were answered together."""

    cells: Sequence[Cell]
    """The cells."""
    treatments: Mapping[str, Treatment]
    """What acted in each arm."""
    answers: dict[str, tuple[Joined, dict[str, Answers]]] = field(default_factory=dict)
    """By kind what was asked, and what each arm answered."""
    samples: Sequence[list[dict[str, Any]]] = ()
    """lm-eval's samples of each cell."""
    perplexities: Sequence[Sequence[tuple[float, int]]] = ()
    """Log-likelihood and tokens of each cell's generated texts, unsteered; empty if none."""
    seconds: float = 0.0
    """Spent on all cells, fits aside."""
    fit_seconds: float = 0.0
    """Spent on extraction and fits."""

    @property
    def id(self) -> str:
        """Names the cells that were answered together: rounding depends on them."""
        return group_id(self.cells)

    def book(self, cell: Cell) -> Book:
        """The answers of one cell."""
        return {
            kind: asked.of(cell.task.name, answers[cell.arm].values)
            for kind, (asked, answers) in self.answers.items()
            if cell.task.name in asked.places
        }

    def displacement(self, cell: Cell) -> dict[str, float]:
        """Mean |y - x| over the tokens that the cell's arm steered, by site."""
        tallies: dict[str, Tally] = {}
        for _, answers in self.answers.values():
            for site, tally in answers[cell.arm].moved.items():
                tallies.setdefault(site, Tally()).add(tally.tokens, tally.distance)
        return {site: float(t.distance) / t.tokens for site, t in tallies.items() if t.tokens}


@dataclass
class CellWorker:
    """Runs cells and keeps what they share: the model, the tasks, the contrast sets."""

    settings: WorkerSettings
    """Where and how."""
    _loaded: tuple[ModelSpec, SteeredLM] | None = None
    supplies: Supplies = field(init=False)
    """Tasks and contrast sets."""
    _idle_since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Begin with nothing loaded."""
        data_dir = self.settings.data_dir
        self.supplies = Supplies(Path(data_dir) if data_dir else None)
        self._witness = Witness(self.settings.content, self.supplies)

    def run(self, group: tuple[Cell, ...], last: bool) -> Done:
        """Run the cells of `group` together, and store rows or an error for each.

        What fails for a group of several is tried again in halves, so that a cell that cannot be
        done, or a group that does not fit in memory, costs the others nothing but time. An error
        that the program did not foresee may come from a broken device: unless this is the `last`
        try, the cell is left to another worker.
        """
        attempt = Attempt(RunFolder(self.settings.run_folder), last)
        if not self.settings.profile:
            self._run(group, attempt)
            return attempt.done(group)
        clock = Clock(device_of(self.settings))
        clock.seconds["waiting"] = time.perf_counter() - self._idle_since
        with measured(clock), clock.phase("scoring"):
            self._run(group, attempt)
        steered = group[-1]
        profile = Profile(
            group_id(group), steered.model.name, tasks_named(group), steered.layer, len(group),
            clock.seconds, tuple(cell.id for cell in group),
        )  # fmt: skip
        write_profile(attempt.store.place, profile)
        self._idle_since = time.perf_counter()
        return attempt.done(group)

    def _run(self, group: tuple[Cell, ...], attempt: Attempt) -> None:
        waiting = [group]
        start = time.perf_counter()
        try:
            with phase("loading"):
                self._model(group[0].model)
                for cell in group:
                    self._witness.check(cell)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded
            # What all need is not tried again for each.
            for cell in group:
                attempt.failed(cell, error, start)
            return
        while waiting:
            cells = waiting.pop()
            start = time.perf_counter()
            try:
                answered = self._answer(cells)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded
                if len(cells) == 1:
                    attempt.failed(cells[0], error, start)
                    continue
                if ran_out(error):
                    release()
                half = len(cells) // 2
                waiting += [cells[half:], cells[:half]]
                continue
            self._store(answered, attempt, start)

    def _answer(self, cells: Sequence[Cell]) -> Answered:
        """Let the model answer for all of `cells`, which share it and what their tasks ask."""
        lm, task = self._model(cells[0].model), self.supplies.task(cells[0])
        lm.batch_size_per_gpu = self.settings.batch_size_of(cells[0])
        lm.own_text = own_text(task)
        fits = lm.fitter.seconds
        arms = one_of_each_arm(cells)
        answered = Answered(cells, {cell.arm: self._treatment(cell, lm) for cell in arms})
        start = time.perf_counter()
        samples: dict[str, list[dict[str, Any]]] = {}

        def evaluate(cell: Cell) -> None:
            if cell.id not in samples:
                book = Replay(answered.book(cell), lm)
                samples[cell.id] = evaluated(book, self.supplies.task(cell), cell)

        while asked := wanted(one_of_each_task(cells), evaluate):
            for kind, together in asked.items():
                treatments = list(answered.treatments.values())
                seeds = [cell.sample_seed for cell in arms]
                answers = lm.answer(kind, together.requests, treatments, seeds)
                by_arm = dict(zip(answered.treatments, answers, strict=True))
                answered.answers[kind] = together, by_arm
        for cell in cells:
            evaluate(cell)
        answered.samples = [samples[cell.id] for cell in cells]
        answered.fit_seconds = lm.fitter.seconds - fits
        answered.seconds = time.perf_counter() - start - answered.fit_seconds
        if wants_perplexity(task):
            texts = [generated(samples) for samples in answered.samples]
            scores = iter(lm.unsteered_likelihoods([text for each in texts for text in each]))
            answered.perplexities = [[next(scores) for _ in each] for each in texts]
        return answered

    def _store(self, answered: Answered, attempt: Attempt, start: float) -> None:
        """Write the rows of every cell, or its error. Raises StoreError where another driver has
        taken over."""
        if self.settings.lease:
            check_driver(attempt.store.place, self.settings.lease)
        for index, cell in enumerate(answered.cells):
            try:
                items, responses, facts = self._rows(answered, index)
                if items.num_rows == 0:
                    raise CellError(f"{cell} scored no items", "Check the task's data and limit.")
                total = (time.perf_counter() - start) / len(answered.cells)
                facts["timings"]["total_seconds"] = total
                with phase("storing"):
                    attempt.store.write_cell(cell.id, items, responses, _described(cell) | facts)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded
                # A full disk may still hold the few bytes of a record; else this raises.
                attempt.failed(cell, error, start)
                continue
            attempt.tokens += facts["timings"]["tokens"]

    def _rows(self, answered: Answered, index: int) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        cell = answered.cells[index]
        treatment = answered.treatments[cell.arm]
        check_steered((a[cell.arm] for _, a in answered.answers.values()), treatment)
        samples = answered.samples[index]
        lm, task = self._model(cell.model), self.supplies.task(cell)
        described = card(cell.task.name)
        items = list(item_rows(cell, described, samples, treatment.route, task))
        if answered.perplexities:
            items += perplexity_rows(items, samples, answered.perplexities[index])
        items = [row for row in items if row["metric"] not in claimed(cell.task)]
        scored = [row["item_id"] for row in items]
        splits = assign_splits(scored, cell.validation_share, contents(samples, task))
        for row in items:
            row["split"] = splits[row["item_id"]]
        responses = list(response_rows(cell.id, cell.task.name, samples))
        encoded = lm.tokenizer(texts_of(samples), add_special_tokens=False)["input_ids"]
        tokens = sum(len(each) for each in encoded)
        share = 1 / len(answered.cells)
        seconds = answered.seconds * share
        facts = {
            "timings": {
                "fit_seconds": answered.fit_seconds * share,
                "seconds": seconds,
                "tokens": tokens,
                "tokens_per_second": tokens / seconds,
            },
            "group": {"id": answered.id, "cells": len(answered.cells)},
            "batch_size": self.settings.batch_size_of(cell),
            "path": lm.path,
            "displacement": answered.displacement(cell),
            "metrics_without_numbers": without_numbers(samples),
            "metrics_without_direction": without_direction(samples, directions(described, task)),
            "content": self._witness.of(cell),
            "steerers": [dict(treatment.fit(fold).card) for fold in _folds(items, treatment)],
            "environment": environment(str(lm.device), cell.package),
        }
        return (
            pa.Table.from_pylist(items, schema=ITEM_SCHEMA),
            pa.Table.from_pylist(responses, schema=RESPONSE_SCHEMA),
            facts,
        )

    def _model(self, spec: ModelSpec) -> SteeredLM:
        bare = spec.without_layers()
        if self._loaded is None or self._loaded[0] != bare:
            self._loaded = None
            with self._witness.loading(bare):
                lm = load_model(bare, self.settings)
            self._loaded = (bare, lm)
        return self._loaded[1]

    def _treatment(self, cell: Cell, lm: SteeredLM) -> Treatment:
        if cell.method.name == "none":
            return unsteered()
        request, unit, positions = fit_request(cell), cell.method.unit, Positions(cell.positions)
        if cell.contrast is None:
            artefact = lm.fitter.vector(request)
            return unfitted(artefact, cell.method.name, cell.strength, unit, positions)
        self._announce(cell, lm)
        contrast = self.supplies.contrast(cell.contrast)
        return fitted(lm.fitter, contrast, request, cell.strength, unit, positions)

    def _announce(self, cell: Cell, lm: SteeredLM) -> None:
        """Tell the fitter of all fits to the same contrast, so that one pass reads for them."""
        for other in self.settings.cells:
            same_model = other.model.without_layers() == cell.model.without_layers()
            if other.contrast == cell.contrast and same_model:
                assert other.contrast is not None
                lm.fitter.expect(self.supplies.contrast(other.contrast), fit_request(other))


@dataclass
class Attempt:
    """What comes of one try at a group of cells."""

    store: RunFolder
    """Where rows and errors go."""
    last: bool
    """Whether nobody tries again what fails unforeseen."""
    errors: dict[str, str] = field(default_factory=dict)
    """Recorded failures, by cell id."""
    again: set[str] = field(default_factory=set)
    """Ids of the cells that another worker should try."""
    tokens: int = 0
    """Tokens of the answers that were stored."""

    def failed(self, cell: Cell, error: Exception, start: float) -> None:
        """Record why `cell` failed, or leave it to another worker."""
        foreseen = isinstance(error, SteerEvalError) or ran_out(error)
        if foreseen or self.last:
            self.errors[cell.id] = _fail(self.store, cell, error, start)
        else:
            self.again.add(cell.id)

    def done(self, group: Sequence[Cell]) -> Done:
        """What the executor is told."""
        places = tuple(place for place, cell in enumerate(group) if cell.id in self.again)
        return Done(GroupResult(self.errors, self.tokens), places)


@dataclass(frozen=True)
class GroupResult:
    """What a run hears of a group of cells."""

    errors: Mapping[str, str]
    """Recorded failures, by cell id."""
    tokens: int
    """Tokens of the answers that were stored."""


def fit_request(cell: Cell) -> FitRequest:
    """What the steerers of a steered cell are fitted with."""
    contrast, method = cell.contrast, cell.method
    return FitRequest(
        method.name,
        method.options,
        cell.layer,
        contrast.template if contrast else "qa",
        contrast.fraction if contrast else 1.0,
        cell.fit_seed or 0,
        Lower(cell.strength, method.unit, cell.positions) if method.incremental else None,
        contrast.token if contrast else "last",
    )


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
    lm = SteeredLM(
        spec.name,
        method="none",
        revision=spec.revision,
        dtype=spec.dtype,
        peft=spec.peft,
        device=device,
        batch_size=settings.batch_size,
        # In bfloat16 the logarithms of probabilities would be rounded to a sixteenth.
        softmax_dtype="float32",
        parallelize=spec.gpus > 1 and torch.cuda.device_count() > 1,
    )
    lm.quiet = True
    return lm


def _folds(items: Sequence[dict[str, Any]], treatment: Treatment) -> list[int | None]:
    if treatment.strength == 0:
        return []
    return sorted({row["fold"] for row in items}, key=lambda fold: (fold is None, fold or 0))


@cache
def environment(device: str, package: str = "") -> dict[str, Any]:
    """Where a cell runs; `package` is that of its method, where this is not ours."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions([package]),
    }


def _described(cell: Cell) -> dict[str, Any]:
    return {"name": str(cell), "identity": cell.identity}


def _fail(store: RunFolder, cell: Cell, error: Exception, start: float) -> str:
    """Record that `cell` failed; the message."""
    told = error
    if not isinstance(error, SteerEvalError):
        told = CellError(
            f"{cell} failed with {type(error).__name__}: {_first_line(error)}",
            "The traceback is in the cell's record.",
        )
        told.__cause__ = error
    store.write_failure(cell.id, _failure(cell, told, start))
    return str(told)


def _failure(cell: Cell, error: Exception, start: float) -> dict[str, Any]:
    return _described(cell) | {
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exception(error),
        },
        "timings": {"total_seconds": time.perf_counter() - start},
        "environment": {"host": socket.gethostname(), "pid": os.getpid()},
    }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
