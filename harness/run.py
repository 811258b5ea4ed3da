"""Running cells: a worker that keeps its model, and turns lm-eval's answers into rows."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import platform
import socket
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from steereval.errors import CellError, SteerEvalError
from steereval.fitting import FitRequest, Lower, Treatment, fitted, unfitted, unsteered
from steereval.models.hooks import Tally
from steereval.models.positions import Positions
from steereval.plan import Cell
from steereval.results.schema import ITEM_SCHEMA, RESPONSE_SCHEMA
from steereval.results.store import RunFolder
from steereval.spec import ContrastSpec, ModelSpec
from steereval.steered_lm import SteeredLM
from steereval.tasks.catalogue import TaskCard, card, cluster_of, load_tasks
from steereval.tasks.contrast import ContrastSet, load_contrast

PERPLEXITY = "perplexity"
"""Metric added to generated text: perplexity under the unsteered model."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs beside the cells; none of it changes a row."""

    run_folder: str
    """Where rows go."""
    data_dir: str | None
    """Folder with benchmark data."""
    batch_size: int
    """Prompts that generate together, and rows of the plain likelihood path."""
    device: str
    """Device, or `auto`."""
    cells: tuple[Cell, ...] = ()
    """One cell of every fit that the run needs, so that workers can read ahead."""


@dataclass
class CellWorker:
    """Runs cells and keeps what they share: the model, the tasks, the contrast sets."""

    settings: WorkerSettings
    """Where and how."""
    _loaded: tuple[ModelSpec, SteeredLM] | None = None
    _tasks: dict[str, Any] = field(default_factory=dict)
    _contrasts: dict[ContrastSpec, ContrastSet] = field(default_factory=dict)

    def run(self, cell: Cell) -> None:
        """Run `cell` and store its rows, or else its error, which is raised as well."""
        store = RunFolder(Path(self.settings.run_folder))
        start = time.perf_counter()
        try:
            items, responses, facts = self._rows(cell)
            if items.num_rows == 0:
                raise CellError(f"{cell} scored no items", "Check the task's data and limit.")
        except SteerEvalError as error:
            store.write_failure(cell.id, _failure(cell, error, start))
            raise
        except Exception as error:
            wrapped = CellError(
                f"{cell} failed with {type(error).__name__}: {_first_line(error)}",
                "The traceback is in the cell's record.",
            )
            wrapped.__cause__ = error
            store.write_failure(cell.id, _failure(cell, wrapped, start))
            raise wrapped from error
        facts["timings"]["total_seconds"] = time.perf_counter() - start
        store.write_cell(cell.id, items, responses, _described(cell) | facts)

    def _rows(self, cell: Cell) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        lm = self._model(cell.model)
        task = self._task(cell)
        lm.treatment = self._treatment(cell, lm)
        lm.own_text = lambda instance: str(task.doc_to_text(instance.doc))
        fit_before, start = lm.fitter.seconds, time.perf_counter()
        lm.moved = {}
        samples = _evaluate(lm, task, cell)
        fit_seconds = lm.fitter.seconds - fit_before
        seconds = time.perf_counter() - start - fit_seconds
        described = card(cell.task.name)
        items = list(_item_rows(cell, described, samples, lm.treatment, task))
        if _wants_perplexity(task):
            items += _perplexity_rows(items, samples, lm)
        splits = assign_splits([row["item_id"] for row in items], cell.validation_share)
        for row in items:
            row["split"] = splits[row["item_id"]]
        responses = list(_response_rows(cell, samples))
        tokens = _tokens(lm, samples)
        facts = {
            "timings": {
                "fit_seconds": fit_seconds,
                "seconds": seconds,
                "tokens": tokens,
                "tokens_per_second": tokens / seconds,
            },
            "path": lm.path,
            "displacement": {site: _mean_distance(tally) for site, tally in lm.moved.items()},
            "metrics_without_numbers": _without_numbers(samples),
            "steerers": [dict(lm.treatment.fit(fold).card) for fold in _folds(items, lm.treatment)],
            "environment": _environment(str(lm.device)),
        }
        return (
            pa.Table.from_pylist(items, schema=ITEM_SCHEMA),
            pa.Table.from_pylist(responses, schema=RESPONSE_SCHEMA),
            facts,
        )

    def _model(self, spec: ModelSpec) -> SteeredLM:
        bare = _bare(spec)
        if self._loaded is None or self._loaded[0] != bare:
            self._loaded = None
            self._loaded = (bare, load_model(bare, self.settings))
        return self._loaded[1]

    def _task(self, cell: Cell) -> Any:
        name = cell.task.name
        if name not in self._tasks:
            self._tasks |= load_tasks([name], self._data_dir)
        task = self._tasks[name]
        if cell.task.num_fewshot is not None:
            task.set_config(key="num_fewshot", value=cell.task.num_fewshot)
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=cell.fewshot_seed)
        return task

    def _treatment(self, cell: Cell, lm: SteeredLM) -> Treatment:
        if cell.method.name == "none":
            return unsteered()
        request, unit, positions = fit_request(cell), cell.method.unit, Positions(cell.positions)
        if cell.contrast is None:
            artefact = lm.fitter.vector(request)
            return unfitted(artefact, cell.method.name, cell.strength, unit, positions)
        self._announce(cell, lm)
        contrast = self._contrast(cell.contrast)
        return fitted(lm.fitter, contrast, request, cell.strength, unit, positions)

    def _contrast(self, spec: ContrastSpec) -> ContrastSet:
        if spec not in self._contrasts:
            self._contrasts[spec] = load_contrast(
                spec.name, data_dir=self._data_dir, answers=spec.answers
            )
        return self._contrasts[spec]

    def _announce(self, cell: Cell, lm: SteeredLM) -> None:
        """Tell the fitter of all fits to the same contrast, so that one pass reads for them."""
        for other in self.settings.cells:
            if other.contrast == cell.contrast and _bare(other.model) == _bare(cell.model):
                assert other.contrast is not None
                lm.fitter.expect(self._contrast(other.contrast), fit_request(other))

    @property
    def _data_dir(self) -> Path | None:
        return Path(self.settings.data_dir) if self.settings.data_dir else None


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
    )


def load_model(spec: ModelSpec, settings: WorkerSettings) -> SteeredLM:
    """The language model of `spec`, unsteered until a treatment is set. Raises ModelError."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = SteeredLM(
        spec.name,
        method="none",
        revision=spec.revision,
        dtype=spec.dtype,
        peft=spec.peft,
        device=device,
        batch_size=settings.batch_size,
    )
    lm.quiet = True
    return lm


def _bare(spec: ModelSpec) -> ModelSpec:
    return ModelSpec(
        spec.name, (), spec.dtype, spec.revision, spec.peft, chat_template=spec.chat_template
    )


def _evaluate(lm: SteeredLM, task: Any, cell: Cell) -> list[dict[str, Any]]:
    """lm-eval's own evaluation of one task; its logged samples."""
    from lm_eval.evaluator import evaluate

    torch.manual_seed(cell.sample_seed)
    results = evaluate(
        lm=lm,
        task_dict={cell.task.name: task},
        limit=cell.task.limit,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=cell.model.chat_template,
        fewshot_as_multiturn=cell.model.chat_template,
    )
    samples: list[dict[str, Any]] = results["samples"][cell.task.name]
    return samples


def _item_rows(
    cell: Cell, described: TaskCard, samples: Sequence[dict[str, Any]], treatment: Treatment,
    task: Any,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row for each document, filter and metric that has a number."""
    filters = {sample["filter"] for sample in samples}
    better = task.higher_is_better()
    names = _item_ids(samples)
    for sample, item_id in zip(samples, names, strict=True):
        for metric in sample["metrics"]:
            number = as_number(sample[metric])
            if number is None:
                continue
            if math.isnan(number[0]):
                raise CellError(
                    f"{metric} of document {sample['doc_id']} in {cell.task.name} is not a number",
                    "Check the task's scoring on an empty or broken answer.",
                )
            known = described.metrics.get(metric)
            value, weight = number
            yield cell.summary() | {
                "metric": metric if len(filters) == 1 else f"{metric}:{sample['filter']}",
                "higher_is_better": known.higher_is_better if known else bool(better[metric]),
                "item_id": item_id,
                "cluster_id": cluster_of(described.name, sample["doc"]),
                "fold": treatment.route(sample["doc"]),
                "value": value,
                "weight": weight,
            }


def _item_ids(samples: Sequence[dict[str, Any]]) -> list[str]:
    """An id for each sample, from its document alone: the same under every method."""
    seen: Counter[tuple[str, str]] = Counter()
    ids = []
    for sample in samples:
        digest = str(sample["doc_hash"])[:16]
        occurrence = seen[sample["filter"], digest]
        seen[sample["filter"], digest] += 1
        ids.append(digest if occurrence == 0 else f"{digest}-{occurrence + 1}")
    return ids


def as_number(value: Any) -> tuple[float, float] | None:
    """(value, weight) of a score; a (log-likelihood, count) pair becomes a ratio's parts.

    None for a score that is no number of the document's own, such as a part of a corpus score.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        total, count = value
        return -float(total), float(count)
    if isinstance(value, (bool, int, float)) or hasattr(value, "item"):
        return float(value), 1.0
    return None


def _without_numbers(samples: Sequence[dict[str, Any]]) -> list[str]:
    """Metrics that gave no rows, since a document has no number of its own in them."""
    return sorted({m for s in samples for m in s["metrics"] if as_number(s[m]) is None})


def _wants_perplexity(task: Any) -> bool:
    return str(task.OUTPUT_TYPE) == "generate_until"


def _perplexity_rows(
    items: Sequence[dict[str, Any]],
    samples: Sequence[dict[str, Any]],
    lm: SteeredLM,
) -> list[dict[str, Any]]:
    """Perplexity of each generated text after its prompt, under the unsteered model.

    An empty text has no tokens and weighs nothing.
    """
    first = {row["item_id"]: row for row in reversed(items)}
    texts = [(str(s["arguments"][0][0]), _first_response(s)) for s in samples]
    scores = lm.unsteered_likelihoods(texts)
    rows = []
    for item_id, (total, tokens) in zip(_item_ids(samples), scores, strict=True):
        rows.append(
            first[item_id]
            | {"metric": PERPLEXITY, "higher_is_better": False, "value": -total, "weight": tokens}
        )
    return rows


def _first_response(sample: dict[str, Any]) -> str:
    response = sample["resps"][0]
    while isinstance(response, (list, tuple)):
        response = response[0]
    return str(response)


def assign_splits(item_ids: Sequence[str], share: float) -> dict[str, str]:
    """`validation` or `test` for each item: the `share` whose hashed ids come first.

    The same for all methods, whatever the order of the items. At least one item stays for the
    test, and with a share above 0 at least one for validation where there are two or more.
    """
    ranked = sorted(set(item_ids), key=lambda item: hashlib.sha256(item.encode()).hexdigest())
    count = min(math.ceil(share * len(ranked)), len(ranked) - 1)
    return {item: "validation" if i < count else "test" for i, item in enumerate(ranked)}


def _response_rows(cell: Cell, samples: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the model was asked and what it answered, once for each request."""
    filters = samples[0]["filter"] if samples else ""
    chosen = [sample for sample in samples if sample["filter"] == filters]
    for sample, item_id in zip(chosen, _item_ids(chosen), strict=True):
        for index, (arguments, answers) in enumerate(
            zip(sample["arguments"], sample["resps"], strict=True)
        ):
            yield {
                "cell_id": cell.id,
                "task": cell.task.name,
                "item_id": item_id,
                "request": index,
                "prompt_hash": hashlib.sha256(str(arguments[0]).encode()).hexdigest()[:16],
                "prompt": str(arguments[0]),
            } | _answer(arguments, answers[0])


def _answer(arguments: Sequence[Any], answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"kind": "generation", "continuation": answer}
    if isinstance(answer, (tuple, list)):
        value, greedy = answer
    else:
        value, greedy = answer, None
    continuation = str(arguments[1]) if len(arguments) > 1 else ""
    return {
        "kind": "loglikelihood",
        "continuation": continuation,
        "log_likelihood": float(value),
        "is_greedy": greedy,
    }


def _tokens(lm: SteeredLM, samples: Sequence[dict[str, Any]]) -> int:
    """Tokens of all distinct prompts and all answers."""
    prompts = {str(arguments[0]) for sample in samples for arguments in sample["arguments"]}
    answers = [
        str(arguments[1]) if len(arguments) > 1 and isinstance(arguments[1], str) else str(text[0])
        for sample in samples
        for arguments, text in zip(sample["arguments"], sample["resps"], strict=True)
    ]
    encoded = lm.tokenizer([*prompts, *answers], add_special_tokens=False)["input_ids"]
    return sum(len(tokens) for tokens in encoded)


def _mean_distance(tally: Tally) -> float:
    """Mean |y - x| over the steered tokens of a site."""
    return float(tally.distance) / tally.tokens if tally.tokens else 0.0


def _folds(items: Sequence[dict[str, Any]], treatment: Treatment) -> list[int | None]:
    if treatment.strength == 0:
        return []
    return sorted({row["fold"] for row in items}, key=lambda fold: (fold is None, fold or 0))


@cache
def _environment(device: str) -> dict[str, Any]:
    """Where a cell ran."""
    return {
        "host": socket.gethostname(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _described(cell: Cell) -> dict[str, Any]:
    return {"name": str(cell), "identity": cell.identity}


def _failure(cell: Cell, error: SteerEvalError, start: float) -> dict[str, Any]:
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
