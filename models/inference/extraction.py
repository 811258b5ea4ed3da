"""Activations of many texts, for all sites and parts that are wanted, in one streaming pass.

Texts that begin alike (answers to one question) share what they have in common, as in
`prefix_tree`, where the model allows it; otherwise they run in padded batches. Of each pass only
the requested states leave the device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steereval.common.errors import FitError
from steereval.models.inference.packed_row import packed_context, packed_inputs
from steereval.models.inference.pass_layout import row_tokens
from steereval.models.inference.prefix_tree import Request, build_forest, packs
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hook_targets import reading
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions

BATCH_TOKENS = 1024
"""Padded tokens in a batch."""

PARTS = ("last", "query", "mean", "tokens")
"""`last`: the text's last token. `query`: the last token before the answer. `mean`: over the
answer's tokens. `tokens`: every token of every answer, one after another."""

States = dict[str, dict[Site, Tensor]]
"""By part and site: [texts, d], or [tokens of all answers, d] for `tokens`; float32, CPU."""


@dataclass(frozen=True)
class Text:
    """A tokenised text: a prompt (a question, say) and its answer."""

    tokens: tuple[int, ...]
    """Token ids of both; at least one."""
    start: int
    """Index of the answer's first token; 0 where the whole text is the answer."""
    unsteered_prefix: int = 0
    """Leading tokens (BOS) that are never steered."""


@dataclass(frozen=True)
class Under:
    """Steering that is at work while activations are read."""

    intervention: Intervention
    """The steering."""
    positions: Positions
    """Which tokens it steers, the part before the answer being the prompt."""


class _Pass(NamedTuple):
    """One forward pass, and the text and token of each column of its states."""

    inputs: dict[str, Any]
    context: ForwardContext
    columns: NDArray[np.int64]
    texts: NDArray[np.int64]
    tokens: NDArray[np.int64]


def read_states(
    model: nn.Module,
    texts: Sequence[Text],
    wanted: Mapping[str, Collection[Site]],
    share: bool = False,
    under: Under | None = None,
) -> States:
    """The states of `texts` for each wanted part at its sites.

    `share`: whether the model takes packed rows (`likelihood.supports_sharing`). Raises FitError
    for an empty text, a text without an answer where its tokens are wanted, or states that are
    not finite.
    """
    _check(texts, wanted)
    sites = sorted({site for chosen in wanted.values() for site in chosen})
    collected = {part: _Collector(part, texts) for part in wanted}
    with ExitStack() as stack:
        session = stack.enter_context(steered(model, [under.intervention] if under else []))
        run = stack.enter_context(reading(model, sites))
        for each in _passes(model, texts, share, under):
            states = _run(run, each, session)
            for part, chosen in wanted.items():
                collected[part].add(each, {site: states[site] for site in chosen})
    return {part: collector.finished() for part, collector in collected.items()}


def last_token_states(
    model: nn.Module, texts: Sequence[Sequence[int]], sites: Sequence[Site], share: bool = False
) -> dict[Site, Tensor]:
    """States [n, d] (float32, CPU) of the last token of each of n tokenised texts, by site."""
    rows = [Text(tuple(text), 0) for text in texts]
    return read_states(model, rows, {"last": sites}, share)["last"]


def _run(run: Callable[..., dict[Site, Tensor]], each: _Pass, session: Session) -> Any:
    with session.on(each.context):
        return run(**each.inputs, use_cache=False)


def _check(texts: Sequence[Text], wanted: Mapping[str, Collection[Site]]) -> None:
    if any(len(text.tokens) == 0 for text in texts):
        raise FitError("a contrast text has no tokens", "Remove empty texts from the contrast set.")
    of_answers = {"mean", "tokens"} & wanted.keys()
    if of_answers and any(text.start >= len(text.tokens) for text in texts):
        raise FitError("a contrast text has no answer", "Remove it from the contrast set.")
    if "query" in wanted and any(text.start == 0 for text in texts):
        raise FitError(
            "a contrast text has no query before its answer",
            "Use a contrast set whose statements answer questions.",
        )


def _requests(texts: Sequence[Text], under: Under | None) -> list[Request]:
    """Texts as requests to score every token of the answer, and one beyond it."""
    requests = []
    for text in texts:
        split = max(text.start, 1)
        index, first, end = -1, 0, None
        if under is not None:
            index = 0
            first, end = under.positions.interval(split, text.unsteered_prefix)
        rest = (*text.tokens[split:], 0)
        requests.append(Request(text.tokens[:split], rest, index, first, end))
    return requests


def _passes(
    model: nn.Module, texts: Sequence[Text], share: bool, under: Under | None
) -> Iterator[_Pass]:
    requests = _requests(texts, under)
    return _packed(model, requests, under) if share else _batched(model, requests)


def _packed(model: nn.Module, requests: Sequence[Request], under: Under | None) -> Iterator[_Pass]:
    per_query = under is not None and any(
        steerer.per_query for steerer in under.intervention.steerers.values()
    )
    starts = np.array([len(request.context) - 1 for request in requests])
    size = row_tokens(_device(model).type)
    for pack in packs(build_forest(requests, per_query), size):
        columns, texts, indices = np.array(pack.answers, dtype=np.int64).reshape(-1, 3).T
        context = packed_context(pack, requests, _device(model))
        yield _Pass(packed_inputs(model, pack), context, columns, texts, starts[texts] + indices)


def _batched(model: nn.Module, requests: Sequence[Request]) -> Iterator[_Pass]:
    device = _device(model)
    for batch in _batches([len(request.tokens) for request in requests]):
        lengths = np.array([len(requests[i].tokens) for i in batch])
        width = int(lengths.max())
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        assigned = torch.full((len(batch), width), -1)
        for row, number in enumerate(batch):
            request = requests[number]
            ids[row, : lengths[row]] = torch.tensor(request.tokens)
            steered_at = [request.assigned(i) for i in range(len(request.tokens))]
            assigned[row, : lengths[row]] = torch.tensor(steered_at)
        inside = np.arange(width) < lengths[:, None]
        rows, tokens = np.nonzero(inside)
        last = torch.tensor([[r, len(requests[n].context) - 1] for r, n in enumerate(batch)])
        query = torch.arange(len(batch))[:, None].expand(-1, width)
        keys = [requests[number].key for number in batch]
        inputs = {
            "input_ids": ids.to(device),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)).to(device),
        }
        context = ForwardContext(assigned, query.to(device), last.to(device), keys)
        yield _Pass(inputs, context, rows * width + tokens, np.array(batch)[rows], tokens)


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of the texts, by length, in batches of at most BATCH_TOKENS padded tokens."""
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


class _Collector:
    """Gathers one part of the states, pass by pass."""

    def __init__(self, part: str, texts: Sequence[Text]) -> None:
        self.part = part
        self.starts = np.array([text.start for text in texts])
        self.lengths = np.array([len(text.tokens) for text in texts])
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths - self.starts)])
        self.states: dict[Site, Tensor] = {}

    def add(self, each: _Pass, states: Mapping[Site, Tensor]) -> None:
        """Take the wanted positions of the states [rows, length, d] of a pass."""
        chosen = self._chosen(each)
        columns, target = torch.from_numpy(each.columns[chosen]), self._target(each, chosen)
        for site, hidden in states.items():
            flat = hidden.reshape(-1, hidden.shape[-1])
            rows = flat[columns.to(flat.device)].float().cpu()
            if site not in self.states:
                self.states[site] = torch.zeros(self._size, rows.shape[1])
            if self.part == "mean":
                self.states[site].index_add_(0, target, rows)
            else:
                self.states[site][target] = rows

    def _chosen(self, each: _Pass) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_]
        if self.part == "last":
            chosen = each.tokens == self.lengths[each.texts] - 1
        elif self.part == "query":
            chosen = each.tokens == self.starts[each.texts] - 1
        else:
            chosen = each.tokens >= self.starts[each.texts]
        return chosen

    def _target(self, each: _Pass, chosen: NDArray[np.bool_]) -> Tensor:
        texts, tokens = each.texts[chosen], each.tokens[chosen]
        if self.part != "tokens":
            return torch.from_numpy(texts)
        return torch.from_numpy(self.offsets[texts] + tokens - self.starts[texts])

    @property
    def _size(self) -> int:
        return int(self.offsets[-1]) if self.part == "tokens" else len(self.lengths)

    def finished(self) -> dict[Site, Tensor]:
        """All states. Raises FitError if some are not finite."""
        for site, states in self.states.items():
            if self.part == "mean":
                states /= torch.from_numpy(self.lengths - self.starts)[:, None]
            if not bool(torch.isfinite(states).all()):
                raise FitError(
                    f"activations at layer {site} are not finite",
                    "The model overflowed there: use float32 or bfloat16, or another layer.",
                )
        return self.states


def _device(model: nn.Module) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[operator, no-any-return]
