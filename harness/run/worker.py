"""Running cells: a worker that keeps its model and answers for a group of cells at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from steereval.common.activity import ANSWERING, FITTING, LOADING, SCORING, doing
from steereval.common.errors import ScoringError, StoreError
from steereval.harness.config.grid import ModelSpec
from steereval.harness.engine.arms import Answers
from steereval.harness.engine.environment import environment
from steereval.harness.engine.fit_request import fit_request
from steereval.harness.engine.loading import WorkerSettings, device_of, load_model
from steereval.harness.engine.merged_requests import MergedRequests, wanted
from steereval.harness.engine.replay import OtherRequests
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import Treatment, fitted, unfitted, unsteered
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import Witness
from steereval.harness.planning.groups import (
    group_id,
    one_of_each_arm,
    one_of_each_task,
    tasks_named,
)
from steereval.harness.planning.task_resources import TaskResources, own_text
from steereval.harness.run.answered import Answered, asked_of, begun, tokens_of
from steereval.harness.run.attempt import Attempt, described
from steereval.harness.run.item_rows import wants_perplexity
from steereval.harness.run.lost_items import answer_possible
from steereval.harness.run.scoring import samples_of, scoring_error, tables_of
from steereval.models.inference.memory import ran_out, release
from steereval.models.steering.phase_clock import Clock, measured, phase
from steereval.models.steering.positions import Positions
from steereval.ray_jobs.work import Done
from steereval.results.store.answers import AnswerStore
from steereval.results.store.cell_record import CellFacts
from steereval.results.store.lease import check_driver
from steereval.results.store.profiles import Profile, write_profile
from steereval.results.store.run_folder import RunFolder

logger = logging.getLogger(__name__)


class Outdated(Exception):
    """Stored answers of a task are to other requests than it makes now."""

    def __init__(self, task: str) -> None:
        """Name the task."""
        super().__init__(task)
        self.task = task


class NotLoaded(Exception):
    """The model that cells need cannot be loaded."""

    def __init__(self, why: Exception) -> None:
        """Keep the reason."""
        super().__init__(str(why))
        self.why = why


@dataclass
class CellWorker:
    """Runs cells and keeps what they share: the model, the tasks, the contrast sets."""

    settings: WorkerSettings
    """Where and how."""
    _loaded: tuple[ModelSpec, SteeredLM] | None = None
    resources: TaskResources = field(init=False)
    """Tasks and contrast sets."""
    answers: AnswerStore = field(init=False)
    """Answers that are not scored yet."""
    _idle_since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Begin with nothing loaded."""
        self.settings.publish_included()
        data_dir = self.settings.data_dir
        self.resources = TaskResources(Path(data_dir) if data_dir else None)
        self._witness = Witness(self.settings.content, self.resources)
        self.answers = AnswerStore(RunFolder(self.settings.run_folder).place)

    def run(self, group: tuple[Cell, ...], last: bool) -> Done:
        """Run the cells of `group` together, and store rows or an error for each.

        What was answered is kept before it is scored, and is not answered again: an error of the
        scoring is one of its cell alone. Where the model cannot answer a group of several, it is
        tried again in halves, so that a cell that cannot be done, or a group that does not fit in
        memory, costs the others nothing but time. An error of that kind that the program did not
        foresee may come from a broken device: unless this is the `last` try, the cell is left to
        another worker.
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
        """Score what is kept of `group`, and answer the rest."""
        start = time.perf_counter()
        try:
            for cell in group:
                self._witness.check(cell)
        except Exception as error:  # noqa: BLE001 - every error is recorded
            # What all need is not tried again for each.
            attempt.all_failed(group, error, start)
            return
        waiting = self._begun(group)
        while waiting:
            answered = waiting.pop()
            start = time.perf_counter()
            try:
                self._complete(answered)
            except StoreError:
                raise
            except NotLoaded as error:
                attempt.all_failed(answered.cells, error.why, start)
            except Outdated as outdated:
                logger.warning("the answers kept of %s are to other requests", outdated.task)
                waiting += answered.without(outdated.task)
            except Exception as error:  # noqa: BLE001 - every error is recorded
                if len(answered.cells) == 1:
                    attempt.failed(answered.cells[0], error, start)
                    continue
                if ran_out(error):
                    release()
                waiting += answered.halves()
            else:
                with doing(SCORING):
                    self._store(answered, attempt, start)

    def _begun(self, group: Sequence[Cell]) -> list[Answered]:
        """Stored answers of an earlier try or start at `group`, after the cells that have none."""
        known, left = [], {cell.id: cell for cell in group}
        for name, cells in begun(self.answers, group):
            try:
                answered = Answered.read(self.answers, name, cells)
            except StoreError as error:
                logger.warning("answers are not used: %s", error)
                continue
            if not self._are_current(answered):
                logger.warning("the answers kept of %s come from other weights or texts", name)
                continue
            known.append(answered)
            for cell in cells:
                del left[cell.id]
        return ([Answered(list(left.values()))] if left else []) + known

    def _are_current(self, answered: Answered) -> bool:
        """Whether answers come from the model and contrast sets with which the run began."""
        return all(
            self._witness.is_kept_from(cell, answered.facts.get(cell.id, {}).get("content", {}))
            for cell in answered.cells
        )

    def _complete(self, answered: Answered) -> None:
        """Let the model answer what the tasks of the cells ask and is not answered yet."""
        if not answered.pages:
            self._loaded_for(answered)
        while True:
            self._read_texts(answered)
            by_kind = wanted(
                one_of_each_task(answered.cells), lambda cell: self._try_scoring(answered, cell)
            )
            if not by_kind:
                return
            for kind, merged in by_kind.items():
                self._ask(answered, kind, merged)

    def _try_scoring(self, answered: Answered, cell: Cell) -> None:
        """Raise Asked where the cell's task wants more, and Outdated where it asks otherwise."""
        try:
            answered.samples[cell.id] = samples_of(answered, cell, self.resources.task(cell))
        except ScoringError as error:
            answered.errors[cell.id] = error
        except OtherRequests as error:
            if not all(page.requests for page in asked_of(answered, cell)):
                raise Outdated(cell.task.name) from error

    def _ask(self, answered: Answered, kind: str, merged: MergedRequests) -> None:
        """Let the model answer requests of one kind in all arms, and keep what it says."""
        lm = self._loaded_for(answered)
        task = self.resources.task(answered.cells[0])
        lm.own_text = own_text(task)
        fits, start = lm.fitter.seconds, time.perf_counter()
        arms = one_of_each_arm(answered.cells)
        with doing(FITTING):
            treatments = {cell.arm: self._treatment(cell, lm) for cell in arms}
        seeds = [cell.sample_seed for cell in arms]

        def ask(requests: list[Instance]) -> list[Answers]:
            return lm.answer(kind, requests, list(treatments.values()), seeds)

        with doing(ANSWERING):
            answers, refused = answer_possible(kind, merged.requests, ask)
        answered.add(kind, merged, treatments, answers, refused)
        fit_seconds = lm.fitter.seconds - fits
        seconds = time.perf_counter() - start - fit_seconds
        self._describe(answered, lm, treatments, seconds, fit_seconds)
        self._keep(answered)

    def _describe(
        self,
        answered: Answered,
        lm: SteeredLM,
        treatments: Mapping[str, Treatment],
        seconds: float,
        fit_seconds: float,
    ) -> None:
        """Note for each cell's record how it was answered, in `seconds` more for all of them."""

        def count(texts: Sequence[str]) -> list[int]:
            encoded = lm.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
            return [len(each) for each in encoded]

        tokens = tokens_of(answered, count)
        share = 1 / len(answered.cells)
        for cell in answered.cells:
            before = answered.facts.get(cell.id, {}).get("timings", {})
            spent = before.get("seconds", 0.0) + seconds * share
            answered.facts[cell.id] = {
                "timings": {
                    "fit_seconds": before.get("fit_seconds", 0.0) + fit_seconds * share,
                    "seconds": spent,
                    "tokens": tokens[cell.id],
                    "tokens_per_second": tokens[cell.id] / spent,
                },
                "group": {"id": answered.id, "cells": len(answered.cells)},
                "batch_size": self.settings.batch_size_of(cell),
                "path": lm.path,
                "content": self._witness.of(cell),
                "steerers": _cards(answered.folds(cell).values(), treatments[cell.arm]),
                "environment": environment(str(lm.device), cell.package),
            }

    def _read_texts(self, answered: Answered) -> None:
        """Let the unsteered model read the texts of the cells, where it has not."""
        waiting = []
        for cell in answered.cells:
            page = answered.texts(cell)
            if page and cell.arm not in page.unsteered and wants_perplexity(
                self.resources.task(cell)
            ):  # fmt: skip
                waiting.append((cell.arm, page))
        if not waiting:
            return
        lm = self._loaded_for(answered)
        texts = [
            (page.prompts[index], page.values[arm][index])
            for arm, page in waiting
            for index in page.firsts
        ]
        with doing(SCORING):
            scores = iter(lm.unsteered_likelihoods(texts))
        for arm, page in waiting:
            page.unsteered[arm] = {index: next(scores) for index in page.firsts}
        self._keep(answered)

    def _keep(self, answered: Answered) -> None:
        """Keep what is answered. Raises StoreError where another driver has taken over."""
        self._check_driver()
        with phase("storing"):
            answered.keep(self.answers)

    def _check_driver(self) -> None:
        if self.settings.lease:
            check_driver(self.answers.place, self.settings.lease)

    def _store(self, answered: Answered, attempt: Attempt, start: float) -> None:
        """Score every cell and write its rows, or its error. Raises StoreError where another
        driver has taken over."""
        self._check_driver()
        for cell in answered.cells:
            task = self.resources.task(cell)
            try:
                if cell.id in answered.errors:
                    raise answered.errors[cell.id]
                known = answered.samples.pop(cell.id, None)
                samples = known or samples_of(answered, cell, task)
                items, responses, facts = tables_of(answered, cell, task, samples)
                facts |= answered.facts[cell.id]
                facts["content"] = facts["content"] | self._witness.task_of(cell)
                total = (time.perf_counter() - start) / len(answered.cells)
                facts["timings"] = facts["timings"] | {"total_seconds": total}
                with phase("storing"):
                    whole = CellFacts.model_validate(described(cell) | facts)
                    attempt.store.write_cell(cell.id, items, responses, whole)
            except StoreError as error:
                # A full disk may still hold the few bytes of a record; else this raises.
                attempt.failed(cell, error, start)
                continue
            except Exception as error:  # noqa: BLE001 - every error is recorded
                attempt.failed(cell, scoring_error(cell, error), start)
                continue
            attempt.stored.add(cell.id)
        for name in answered.stored_names:
            self.answers.remove_if_done(name, attempt.stored)

    def _loaded_for(self, answered: Answered) -> SteeredLM:
        """The model of the cells, ready to answer them. Raises NotLoaded."""
        first = answered.cells[0]
        try:
            with phase("loading"), doing(LOADING):
                lm = self._model(first.model)
        except Exception as error:
            raise NotLoaded(error) from error
        lm.batch_size_per_gpu = self.settings.batch_size_of(first)
        answered.chats.model = lm
        return lm

    def _model(self, spec: ModelSpec) -> SteeredLM:
        without_layers = spec.without_layers()
        if self._loaded is None or self._loaded[0] != without_layers:
            self._loaded = None
            with self._witness.loading(without_layers):
                lm = load_model(without_layers, self.settings)
            self._loaded = (without_layers, lm)
        return self._loaded[1]

    def _treatment(self, cell: Cell, lm: SteeredLM) -> Treatment:
        if cell.method.name == "none":
            return unsteered()
        request, unit, positions = fit_request(cell), cell.method.unit, Positions(cell.positions)
        if cell.contrast is None:
            artefact = lm.fitter.vector(request)
            return unfitted(artefact, cell.method.name, cell.strength, unit, positions)
        self._announce(cell, lm)
        contrast = self.resources.contrast(cell.contrast)
        return fitted(lm.fitter, contrast, request, cell.strength, unit, positions)

    def _announce(self, cell: Cell, lm: SteeredLM) -> None:
        """Tell the fitter of all fits to the same contrast, so that one pass reads for them."""
        for other in self.settings.cells:
            same_model = other.model.without_layers() == cell.model.without_layers()
            if other.contrast == cell.contrast and same_model:
                assert other.contrast is not None
                lm.fitter.expect(self.resources.contrast(other.contrast), fit_request(other))


def _cards(folds: Iterable[int | None], treatment: Treatment) -> list[dict[str, Any]]:
    """The cards of the steerers that acted, by fold."""
    if treatment.strength == 0:
        return []
    acting_folds = sorted(set(folds), key=lambda fold: (fold is None, fold or 0))
    return [dict(treatment.fit(fold).card) for fold in acting_folds]
