"""Prompts of each item of a sheet, and the answers under every arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from steereval.results.analysis.item_sheets import ItemSheet
from steereval.results.stats.effect import Floats
from steereval.results.store.run_folder import RunFolder

Places = npt.NDArray[np.int64]

_REQUESTS = 1 << 20
"""More than any item has requests."""


@dataclass(frozen=True)
class ArmAnswers:
    """Answers of one arm; empty where they were not read or there are none."""

    texts: tuple[str | None, ...] = ()
    """[items]: the generated texts."""

    likelihoods: Floats | None = None
    """[all choices, item by item]: log-likelihoods in nats; NaN where one is missing."""

    @property
    def is_known(self) -> bool:
        """Whether there is an answer of either kind."""
        return bool(self.texts) or self.likelihoods is not None


@dataclass(frozen=True)
class SheetAnswers:
    """Questions and answers of a sheet."""

    prompts: tuple[str, ...]
    """[items]; empty where choices have prompts of their own."""

    choices: tuple[tuple[str, ...], ...]
    """[items]: the continuations that were scored; none for generated text."""

    arms: tuple[ArmAnswers, ...]
    """In the order of the sheet."""


def read_answers(run: RunFolder, sheet: ItemSheet, most_rows: int) -> SheetAnswers:
    """The answers of the arms in their order, as long as all of them have at most `most_rows`.

    Raises StoreError if a file is damaged.
    """
    baseline = sheet.arms[0]
    nothing = ("",) * len(sheet.item_ids), ((),) * len(sheet.item_ids)
    if baseline.shown is None or not 0 < baseline.n_responses <= most_rows:
        return SheetAnswers(*nothing, (ArmAnswers(),) * len(sheet.arms))
    index = pd.Index(np.array(sheet.item_ids, dtype=object))
    arms, left = [], most_rows
    prompts: _Prompts | None = None
    for arm in sheet.arms:
        left -= arm.n_responses
        if arm.shown is None or arm.n_responses == 0 or left < 0:
            arms.append(ArmAnswers())
            continue
        responses = run.read_cell(arm.shown.cell_id)[1]
        prompts = prompts or _Prompts.of(responses, index)
        arms.append(prompts.answers(responses, index))
    assert prompts is not None  # the baseline has responses
    return SheetAnswers(prompts.prompts, prompts.choices, tuple(arms))


@dataclass(frozen=True)
class _Prompts:
    """Prompts of all arms, from the baseline's responses."""

    prompts: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    keys: Places
    """[all choices], ascending: item and request as one number."""

    @classmethod
    def of(cls, responses: pa.Table, index: pd.Index) -> _Prompts:
        prompts = [""] * len(index)
        choices: list[list[str]] = [[] for _ in prompts]
        rows, keys = _ordered(responses, index)
        with_own_prompts: set[int] = set()  # items whose choices have prompts of their own
        row_prompts = rows["prompt"].to_pylist()
        for key, prompt in zip(keys, row_prompts, strict=True):
            item, request = divmod(int(key), _REQUESTS)
            if not request:
                prompts[item] = prompt
            elif prompt != prompts[item]:
                with_own_prompts.add(item)
        scored = np.array(rows["kind"].to_numpy(zero_copy_only=False) == "loglikelihood")
        texts = rows["continuation"].to_pylist()
        for key, prompt, text, is_choice in zip(keys, row_prompts, texts, scored, strict=True):
            item = int(key) // _REQUESTS
            if is_choice:
                choices[item].append(f"{prompt}{text}" if item in with_own_prompts else text)
        for item in with_own_prompts:
            prompts[item] = ""
        return cls(tuple(prompts), tuple(map(tuple, choices)), keys[scored])

    def answers(self, responses: pa.Table, index: pd.Index) -> ArmAnswers:
        rows, keys = _ordered(responses, index)
        scored = np.array(rows["kind"].to_numpy(zero_copy_only=False) == "loglikelihood")
        if scored.all():
            return ArmAnswers(likelihoods=self._likelihoods(rows, keys))
        texts: list[str | None] = [None] * len(index)
        written = zip(keys[~scored], rows.filter(pa.array(~scored))["continuation"].to_pylist(),
                      strict=True)  # fmt: skip
        for key, text in written:
            item, request = divmod(int(key), _REQUESTS)
            if request == 0 or texts[item] is None:
                texts[item] = text
        return ArmAnswers(texts=tuple(texts))

    def _likelihoods(self, rows: pa.Table, keys: Places) -> Floats:
        values = rows["log_likelihood"].to_numpy()
        likelihoods = np.full(len(self.keys), np.nan)
        places = np.searchsorted(self.keys, keys)
        inside = places < len(self.keys)
        inside[inside] = self.keys[places[inside]] == keys[inside]
        likelihoods[places[inside]] = values[inside]
        return likelihoods


def _ordered(responses: pa.Table, index: pd.Index) -> tuple[pa.Table, Places]:
    """The rows of the items of `index`, by item and request, and their keys."""
    items = index.get_indexer(pd.Index(responses["item_id"].to_numpy(zero_copy_only=False)))
    keys = items.astype(np.int64) * _REQUESTS + responses["request"].to_numpy()
    order = np.argsort(keys, kind="stable")
    order = order[items[order] >= 0]
    return responses.take(pa.array(order)), keys[order]
