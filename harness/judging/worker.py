"""The second phase of a run: judges read the stored answers, when no steered model is loaded.

A judge's numbers are remembered by content, so that an answer that was judged once, in this run or
another, is not judged again.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steereval.common.activity import JUDGING, doing
from steereval.common.errors import CellError, SteerEvalError
from steereval.common.text import first_line, short_hash
from steereval.harness.assets import model_at_hand
from steereval.harness.config.grid import JudgeSpec, RunSpec
from steereval.harness.engine.environment import versions
from steereval.harness.engine.loading import WorkerSettings, device_of
from steereval.harness.judging.cache import JudgeCache, Pair, Scores
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.content import content_of_judge, held, judge_subject
from steereval.harness.planning.model_content import COMMIT
from steereval.harness.planning.task_cards import known_card
from steereval.harness.planning.task_resources import TaskResources
from steereval.models.inference.memory import ran_out, release
from steereval.models.judges.engine import Engine
from steereval.ray_jobs.work import Done, Work
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.content import digest_of
from steereval.results.store.run_folder import RunFolder
from steereval.tasks.data.document_hash import doc_hash
from steereval.tasks.judges.judge import Answer, Value
from steereval.tasks.judges.preference import REWARD, win
from steereval.tasks.judges.question import question_of
from steereval.tasks.judges.registry import WIN, get_judge, scorer_of

TOGETHER = 16
"""Cells per report of a worker."""
CHUNK = 512
"""Texts that are judged before they are remembered: what a kill can cost."""


@dataclass(frozen=True)
class Assignment:
    """One cell for one judge."""

    judge: JudgeSpec
    """Who judges."""
    cell: Cell
    """Whose answers."""
    unsteered: str | None = None
    """Id of the cell whose rewards those of this one are compared with."""

    def __str__(self) -> str:
        """A short name for progress and errors."""
        return f"{self.judge.name}: {self.cell}"


@dataclass(frozen=True)
class Judgement:
    """Scores of one judge for one cell."""

    values: Mapping[str, Mapping[str, Value]]
    """Value and weight by item and metric; empty for a stand-in."""
    facts: Mapping[str, Any]
    """Who judged, for the record."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Content of the judge's model, as the cell's record holds it."""


@dataclass(frozen=True)
class Judged:
    """A worker's report on one piece of work."""

    judgements: Mapping[str, Judgement]
    """By cell id."""
    errors: Mapping[str, str]
    """Why a cell could not be judged, by cell id."""


def assignments(
    cells: Sequence[Cell], finished: Set[str], records: Mapping[str, CellRecord]
) -> list[Assignment]:
    """Who has still to judge which of the finished cells."""
    references = {_peers(cell): cell.id for cell in reversed(cells) if _is_reference(cell)}
    return [
        Assignment(judge, cell, references.get(_peers(cell)))
        for cell in cells
        if cell.id in finished
        for judge in cell.task.judges
        if judge.name not in records[cell.id].judges
    ]


def _is_reference(cell: Cell) -> bool:
    return cell.method.name == "none" and not cell.is_repeat


def _peers(cell: Cell) -> str:
    """Cells of which one has the other as its unsteered one have the same."""
    model = cell.model.without_layers()
    return repr((model, cell.task, cell.sample_seed, cell.fewshot_seed))


def work_items(open_ones: Sequence[Assignment], run: RunSpec) -> list[Work]:
    """Pieces of work of one judge each; a service with a limited rate has all in one piece."""
    groups: dict[str, list[Assignment]] = {}
    for each in open_ones:
        groups.setdefault(_key(each), []).append(each)
    works = []
    for key, group in groups.items():
        size = TOGETHER if _scorer(group[0].judge).model else len(group)
        for start in range(0, len(group), size):
            units = tuple(group[start : start + size])
            limit = None if run.time_limit is None else run.time_limit * len(units)
            id = short_hash(f"{key}{[unit.cell.id for unit in units]}")
            works.append(Work(id, units, len(units), key, 1.0, 1.0, limit))
    return works


def _key(each: Assignment) -> str:
    """Key of the model to load; a stand-in has the tokenizer of the model that it judges."""
    stand_in = each.cell.model.name if each.judge.is_stand_in else ""
    return f"judge|{each.judge}|{stand_in}"


def _scorer(spec: JudgeSpec) -> Any:
    return scorer_of(get_judge(spec.name), spec.scorer)


@dataclass
class JudgeWorker:
    """Judges cells, and keeps its judge and the tasks."""

    settings: WorkerSettings
    """Where the answers are, and how to read them."""
    reference: str = ""
    """Run folder with the unsteered cells; unless given, the one that is judged."""
    _loaded: tuple[str, LoadedJudge] | None = None
    _documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with nothing loaded."""
        self.settings.publish_included()
        data_dir = self.settings.data_dir
        self.resources = TaskResources(Path(data_dir) if data_dir else None)

    def run(self, units: tuple[Assignment, ...], last: bool) -> Done:
        """Judge the cells of `units`. What fails unforeseen is left to another worker, unless this
        is the `last` try."""
        judgements: dict[str, Judgement] = {}
        errors: dict[str, str] = {}
        again: list[int] = []
        for place, unit in enumerate(units):
            try:
                with doing(JUDGING):
                    judgements[unit.cell.id] = self._judge(unit)
            except Exception as error:  # noqa: BLE001 - every error is recorded
                if isinstance(error, SteerEvalError) or ran_out(error) or last:
                    errors[unit.cell.id] = _in_words(error)
                else:
                    again.append(place)
        return Done(Judged(judgements, errors), tuple(again))

    def _judge(self, unit: Assignment) -> Judgement:
        start = time.perf_counter()
        judge, bench = get_judge(unit.judge.name), self._bench(unit)
        answers = self._answers(unit.cell, unit.cell.id, self.settings.run_folder)
        numbers = bench.score([judge.texts(answer) for answer in answers.values()])
        values = dict(zip(answers, map(judge.values, numbers), strict=True))
        if judge is REWARD and unit.unsteered is not None:
            folder = self.reference or self.settings.run_folder
            others = self._answers(unit.cell, unit.unsteered, folder)
            theirs = bench.score([judge.texts(answer) for answer in others.values()])
            known = {item: each[0] for item, each in zip(others, theirs, strict=True)}
            for item, scores in values.items():
                if item in known:
                    scores[WIN] = win(scores["reward"][0], known[item]), 1.0
        facts = bench.facts | {"answers": len(answers), "seconds": time.perf_counter() - start}
        content = {judge_subject(unit.judge, unit.cell.task.name): digest_of(bench.parts)}
        return Judgement(
            {} if unit.judge.is_stand_in else values, facts, content if bench.parts else {}
        )

    def _answers(self, cell: Cell, cell_id: str, folder: str) -> dict[str, Answer]:
        """The first answer to each item of the cell `cell_id`, which has the task of `cell`."""
        _, responses = RunFolder(folder).read_cell(cell_id)
        documents = self._documents_of(cell)
        return {
            row["item_id"]: self._answer(cell, documents, row["item_id"], row["continuation"])
            for row in responses.to_pylist()
            if row["kind"] == "generation" and row["request"] == 0
        }

    def _answer(self, cell: Cell, documents: dict[str, Any], item: str, response: str) -> Answer:
        document = documents.get(item.partition("-")[0])
        if document is None:
            raise CellError(
                f"the task {cell.task.name} has no document of item {item} any more",
                "Judge with the data that the answers were given to.",
            )
        prompt = str(self.resources.task(cell).doc_to_text(document))
        field = known_card(cell.task).question_field
        question = str(document[field]) if field in document else question_of(prompt)
        return Answer(question, prompt, response)

    def _documents_of(self, cell: Cell) -> dict[str, Any]:
        """The task's documents by item."""
        key = repr(cell.task)
        if key not in self._documents:
            documents = self.resources.task(cell).eval_docs
            self._documents[key] = {doc_hash(each)[:16]: each for each in documents}
        return self._documents[key]

    def _bench(self, unit: Assignment) -> LoadedJudge:
        key = _key(unit)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            release()
            self._loaded = key, load_judge(unit.judge, unit.cell.model.name, self.settings)
        bench = self._loaded[1]
        held(self.settings.content, judge_subject(unit.judge, unit.cell.task.name), bench.parts)
        return bench


@dataclass
class LoadedJudge:
    """A loaded judge with its earlier scores."""

    engine: Engine
    """Source of the scores."""
    facts: dict[str, Any]
    """Who it is."""
    cache: JudgeCache | None
    """Its earlier scores; None: every answer is scored afresh."""
    parts: Mapping[str, str]
    """Hashes of what its model was loaded from; empty where it has none."""

    def score(self, pairs: Sequence[Pair]) -> list[Scores]:
        """The numbers of each pair; each distinct one is judged once. Raises CellError for a number
        that is none."""
        fingerprint = self.facts["fingerprint"]
        known = self.cache.known(fingerprint, pairs) if self.cache else {}
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        for start in range(0, len(new), CHUNK):
            some = new[start : start + CHUNK]
            scores = dict(zip(some, self.engine.score(some), strict=True))
            for pair, numbers in scores.items():
                if not all(map(math.isfinite, numbers)):
                    raise CellError(f"the judge gives {pair[1] or pair[0]!r} the numbers {numbers}")
            if self.cache:
                self.cache.keep(fingerprint, scores)
            known |= scores
        return [known[pair] for pair in pairs]


def load_judge(spec: JudgeSpec, steered: str, settings: WorkerSettings) -> LoadedJudge:
    """The judge of `spec`, for answers of the model `steered`. Raises a SteerEvalError."""
    scorer = _scorer(spec)
    location = spec.model or scorer.model
    parts = content_of_judge(spec)
    engine, content = _engine(spec, scorer.engine, location, steered, settings)
    if content_of_judge(spec) != parts:
        raise CellError(
            f"the model {location} of the judge {spec.name} changed while it was loaded",
            "Start the run again once its files are written.",
        )
    if parts:
        content = parts.get(COMMIT) or f"sha256:{digest_of(parts)}"
    facts = {
        "model": location or None,
        "revision": spec.revision if scorer.model and not spec.is_stand_in else None,
        "scorer": spec.scorer or scorer.engine,
        "content": content,
        "stand_in": spec.is_stand_in,
    }
    code = versions()["steereval"]
    identity = json.dumps([spec.name, facts, spec.dtype, code], sort_keys=True)
    fingerprint = short_hash(identity)
    cache = None if spec.is_stand_in else JudgeCache.usual()
    return LoadedJudge(engine, facts | {"fingerprint": fingerprint}, cache, parts)


def _engine(
    spec: JudgeSpec, name: str, location: str, steered: str, settings: WorkerSettings
) -> tuple[Engine, str]:
    """The engine of a judge, and a name of its content if it does not consist of model files."""
    if name == "perspective":
        from steereval.tasks.scorers.perspective import ATTRIBUTE, KEY, Perspective

        return Perspective(os.environ.get(KEY, "")), ATTRIBUTE
    if name == "profanity":
        from steereval.tasks.scorers.profanity import ProfanityJudge, content

        return ProfanityJudge(), content()
    # Imported here: a service needs no model library.
    from steereval.models.judges.loading import load_engine, stand_in

    device, size = device_of(settings), settings.batch_size
    if spec.is_stand_in:
        made = stand_in(name, model_at_hand(steered), device, size)
    else:
        folder = model_at_hand(location)
        made = load_engine(name, folder, spec.revision, spec.dtype, device, size)
    return made.engine, made.content


def _in_words(error: Exception) -> str:
    if isinstance(error, SteerEvalError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"
