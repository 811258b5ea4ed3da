"""lm-eval's samples, read without lm-eval: items, numbers, requests and answers.

A sample is one document under one filter, as lm-eval's `evaluate` returns it: a dict with doc_id,
doc, doc_hash, filter, arguments, resps, metrics and, for each metric, its value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steereval.common.errors import CellError
from steereval.common.text import short_hash

Sample = Mapping[str, Any]

SUBTASK = "steereval_subtask"
"""The key under which a sample of a group names its task."""


@dataclass(frozen=True)
class SampleScore:
    """One metric of one sample."""

    sample: Sample
    """Where it stands."""
    item_id: str
    """The document's id."""
    metric: str
    """lm-eval's name of the metric."""
    name: str
    """The name in rows: with the filter, where there are several."""
    value: float
    """The score, or a ratio's sum."""
    weight: float
    """1, or what the sum is over."""


def scores_of(samples: Sequence[Sample], task: str) -> Iterator[SampleScore]:
    """Every metric that is a number of the document's own. Raises CellError for NaN."""
    filters = {sample["filter"] for sample in samples}
    corpus = _corpus_metrics(samples)
    for sample, item_id in zip(samples, item_ids(samples), strict=True):
        for metric in sample["metrics"]:
            number = as_number(sample[metric])
            if number is None or metric in corpus:
                continue
            if math.isnan(number[0]):
                raise CellError(
                    f"{metric} of document {sample['doc_id']} in {task} is not a number",
                    "Check the task's scoring on an empty or broken answer.",
                )
            name = metric if len(filters) == 1 else f"{metric}:{sample['filter']}"
            yield SampleScore(sample, item_id, metric, name, *number)


def item_ids(samples: Sequence[Sample]) -> list[str]:
    """An id for each sample, from its document alone: the same under every method.

    The first 16 digits of lm-eval's doc_hash; a document that comes again has its number behind,
    and one of a group the name of its SUBTASK and a colon in front.
    """
    seen: Counter[tuple[str, str]] = Counter()
    ids = []
    for sample in samples:
        subtask = sample.get(SUBTASK)
        digest = f"{subtask}:" * bool(subtask) + str(sample["doc_hash"])[:16]
        occurrence = seen[sample["filter"], digest]
        seen[sample["filter"], digest] += 1
        ids.append(digest if occurrence == 0 else f"{digest}-{occurrence + 1}")
    return ids


def as_number(value: Any) -> tuple[float, float] | None:
    """(value, weight) of a score; a (log-likelihood, count) pair becomes a ratio's parts.

    None for a score that is no number of the document's own, such as a part of a corpus score.
    """
    try:
        if isinstance(value, (tuple, list)) and len(value) == 2:
            total, count = value
            is_text = isinstance(total, str) or isinstance(count, str)
            return None if is_text else (-float(total), float(count))
        if isinstance(value, (bool, int, float)):
            return float(value), 1.0
        if hasattr(value, "item"):
            return float(value.item()), 1.0
    except (TypeError, ValueError, OverflowError):
        return None
    return None


def without_numbers(samples: Sequence[Sample]) -> list[str]:
    """Metrics that gave no rows, since a document has no number of its own in them."""
    unnumbered = {m for s in samples for m in s["metrics"] if as_number(s[m]) is None}
    return sorted(unnumbered | _corpus_metrics(samples))


def _corpus_metrics(samples: Sequence[Sample]) -> set[str]:
    """Metrics whose documents hold pairs that are not a log-likelihood and a count.

    lm-eval has pairs of the right and the chosen answer for scores of a whole corpus (F1, MCC),
    which look like the parts of a ratio. A sum of log-likelihoods is never above 0, not always 0,
    and stands over a positive count.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            value = sample[metric]
            number = as_number(value) if isinstance(value, (tuple, list)) else None
            if number is not None:
                pairs.setdefault(metric, []).append(number)
    return {
        metric
        for metric, weighted in pairs.items()
        if not all(total >= 0.0 and count > 0.0 for total, count in weighted)
        or not any(total > 0.0 for total, _ in weighted)
    }


def without_direction(samples: Sequence[Sample], known: Collection[str]) -> list[str]:
    """Metrics of which it is not known whether higher is better; they give no rows."""
    return sorted({metric for sample in samples for metric in sample["metrics"]} - set(known))


def response_rows(cell_id: str, task: str, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """Requests and answers of the model, once for each request."""
    filters = samples[0]["filter"] if samples else ""
    chosen = [sample for sample in samples if sample["filter"] == filters]
    for sample, item_id in zip(chosen, item_ids(chosen), strict=True):
        for index, (arguments, answers) in enumerate(
            zip(sample["arguments"], sample["resps"], strict=True)
        ):
            yield {
                "cell_id": cell_id,
                "task": task,
                "item_id": item_id,
                "request": index,
            } | asked_and_answered(arguments, answers[0])


def asked_and_answered(arguments: Sequence[Any], answer: Any) -> dict[str, Any]:
    """The columns of a response that hold a request's arguments and its answer."""
    prompt = str(arguments[0])
    digest = short_hash(prompt)
    return {"prompt_hash": digest, "prompt": prompt} | _answer(arguments, answer)


def _answer(arguments: Sequence[Any], answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"kind": "generation", "continuation": answer}
    if isinstance(answer, (tuple, list)):
        value, greedy = answer
    else:
        value, greedy = answer, None
    continuation = str(arguments[1]) if len(arguments) > 1 and arguments[1] is not None else ""
    return {
        "kind": "loglikelihood",
        "continuation": continuation,
        "log_likelihood": float(value),
        "is_greedy": greedy,
    }
