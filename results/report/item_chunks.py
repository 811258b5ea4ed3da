"""Data of the item browser, embedded in the page: a compressed chunk for each model and task."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steereval.results.analysis.item_answers import ArmAnswers, SheetAnswers, read_answers
from steereval.results.analysis.item_sheets import ArmOnItems, ItemSheet
from steereval.results.report.tables.leaderboard import strength_words, unit_words
from steereval.results.stats.effect import Floats, Labels
from steereval.results.store.correct_answers import ByItem, Correct, read_correct_answers
from steereval.results.store.manifest import RATIO
from steereval.results.store.run_folder import RunFolder

MOST_ITEMS = 5000
"""Items of a piece: those on which methods differ most."""

MOST_RESPONSES = 400_000
"""Stored responses that are read for one report."""

MOST_CHARACTERS = 2000
"""Of a text; the end of a prompt is kept, and the beginning of an answer."""


@dataclass(frozen=True)
class ItemChunk:
    """The items of one model and task, ready for the page."""

    title: str
    """Model, task and metric."""

    summary: str
    """How many items there are, and what was left out, in a sentence."""

    data: str
    """JSON, compressed by gzip, as base64."""


def item_chunks(run: RunFolder, sheets: Sequence[ItemSheet]) -> Iterator[ItemChunk]:
    """The chunks of all sheets; at most MOST_RESPONSES answers are embedded.

    Raises StoreError for a file of the run that is damaged.
    """
    left, correct = MOST_RESPONSES, read_correct_answers(run.place)
    for sheet in sheets:
        answers = read_answers(run, sheet, left)
        read = zip(sheet.arms, answers.arms, strict=True)
        left -= sum(arm.n_responses for arm, arm_answers in read if arm_answers.is_known)
        yield _chunk(sheet, answers, correct.get(sheet.task.name, {}))


def _chunk(sheet: ItemSheet, answers: SheetAnswers, correct: ByItem) -> ItemChunk:
    chosen = _most_differing(sheet)
    texts = _Pool()
    lengths = np.array([len(each) for each in answers.choices], dtype=np.intp)
    choices = _choices_of(chosen, lengths)
    right = [correct.get(sheet.item_ids[i], Correct()) for i in chosen]
    value = {
        "unit": unit_words(sheet.metric),
        "scale": 100 if sheet.metric.in_points else 1,
        "better": 1 if sheet.metric.higher_is_better else -1,
        "items": [sheet.item_ids[i] for i in chosen],
        "prompts": [texts.number(shortened_end(answers.prompts[i])) for i in chosen],
        "choices": [[texts.number(shortened_start(c)) for c in answers.choices[i]] for i in chosen],
        "right": [
            [n for n in c.choices if n < lengths[i]] for c, i in zip(right, chosen, strict=True)
        ],
        "references": [[texts.number(shortened_start(text)) for text in c.texts] for c in right],
        "arms": [
            _arm(arm, arm_answers, chosen, choices, lengths[chosen], texts)
            for arm, arm_answers in zip(sheet.arms, answers.arms, strict=True)
        ],
    }
    text = json.dumps(value | {"texts": texts.texts}, ensure_ascii=False, separators=(",", ":"))
    packed = gzip.compress(text.encode(), compresslevel=6, mtime=0)
    return ItemChunk(
        f"{sheet.model}: {sheet.task.name} · {sheet.metric.name}",
        _summary(sheet, answers, len(chosen)),
        base64.b64encode(packed).decode(),
    )


class _Pool:
    """Texts, each once, and their numbers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def _arm(
    arm: ArmOnItems,
    answers: ArmAnswers,
    chosen: Labels,
    choices: Labels,
    lengths: Labels,
    texts: _Pool,
) -> dict[str, Any]:
    row, shown = arm.row, arm.shown
    strengths = "" if row.is_baseline else f"strength {strength_words(row.strengths.items())}"
    fit_seed = None if shown is None else shown.fit_seed
    seed = "" if fit_seed is None else f"answers of fit seed {fit_seed}"
    chunk: dict[str, Any] = {
        "name": row.name,
        "detail": ", ".join(filter(None, (strengths, seed))),
        "scores": _numbers(arm.scores[chosen], 4),
    }
    if answers.likelihoods is not None:
        chunk["likelihoods"] = _numbers(answers.likelihoods[choices], 2)
        chunk["picks"] = _picks(answers.likelihoods[choices], lengths)
    if answers.texts:
        written = [answers.texts[i] for i in chosen]
        chunk["texts"] = [None if t is None else texts.number(shortened_start(t)) for t in written]
    return chunk


def _most_differing(sheet: ItemSheet) -> Labels:
    """Places of the items to show, in the sheet's order."""
    scores = np.array([arm.scores for arm in sheet.arms])
    if scores.shape[1] <= MOST_ITEMS:
        return np.arange(scores.shape[1])
    with np.errstate(invalid="ignore"):  # two infinite scores do not differ
        apart = np.nan_to_num(np.abs(scores[1:] - scores[0]), nan=0.0, posinf=math.inf).max(axis=0)
    return np.sort(np.argsort(-apart, kind="stable")[:MOST_ITEMS])


def _choices_of(chosen: Labels, lengths: Labels) -> Labels:
    """Places of the choices of the items `chosen` among the choices of all."""
    ends = np.cumsum(lengths)
    parts = [np.arange(int(ends[i] - lengths[i]), int(ends[i])) for i in chosen]
    return np.concatenate(parts).astype(np.intp) if parts else np.empty(0, np.intp)


def _picks(likelihoods: Floats, lengths: Labels) -> list[int | None]:
    """The likeliest choice of each item; null where a likelihood is missing, or all of them."""
    picks: list[int | None] = []
    for part in np.split(likelihoods, np.cumsum(lengths)[:-1]):
        known = len(part) and not np.isnan(part).any()
        picks.append(int(part.argmax()) if known else None)
    return picks


def _numbers(values: Floats, decimals: int) -> list[float | int | str | None]:
    """For JSON: whole numbers without a point, null for NaN, "inf" and "-inf"."""
    return [_number(x) for x in np.round(values, decimals).tolist()]


def _number(x: float) -> float | int | str | None:
    if math.isfinite(x):
        return int(x) if x == int(x) else x
    return None if math.isnan(x) else str(x)


def shortened_end(prompt: str) -> str:
    """The end of a prompt, at most MOST_CHARACTERS long."""
    return prompt if len(prompt) <= MOST_CHARACTERS else f"… {prompt[-MOST_CHARACTERS:]}"


def shortened_start(text: str) -> str:
    """The beginning of a text, at most MOST_CHARACTERS long."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"


def _summary(sheet: ItemSheet, answers: SheetAnswers, n_shown: int) -> str:
    text = f"{len(sheet.item_ids)} test items"
    if n_shown < len(sheet.item_ids):
        text += f", of which the {n_shown} on which methods differ most are here"
    if sheet.metric.kind == RATIO:
        text += "; scores are perplexities of single items"
    silent = [
        arm.row.name
        for arm, arm_answers in zip(sheet.arms, answers.arms, strict=True)
        if not arm_answers.is_known
    ]
    if len(silent) == len(sheet.arms):
        return f"{text}; no answers are embedded."
    if silent:
        text += f"; without the answers of {', '.join(silent)}, which are in the run folder"
    return f"{text}."
