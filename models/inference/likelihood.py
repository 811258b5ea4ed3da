"""Log-likelihoods of continuations under interventions: a shared path and a plain one.

The shared path computes every token that requests have in common once (`prefix_tree`), which needs
a model that takes an attention mask of its own and explicit positions; `supports_sharing` tries
it. The plain path feeds right-padded batches, as lm-eval's own model does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

from steereval.models.inference.lower_blocks import LowerBlocks, lowest_block, pass_key
from steereval.models.inference.memory import LEAST_TOKENS, Batches, RowSize, ran_out
from steereval.models.inference.packed_row import (
    check_steered,
    masks_by_index,
    packed_context,
    packed_inputs,
)
from steereval.models.inference.pass_layout import LEAST_SHARED_TOKENS, Layout, Piece, row_tokens
from steereval.models.inference.prefix_tree import PackedRow, Request
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hooks import Session
from steereval.models.steering.phase_clock import phase

ROWS_OF_LOGITS = 64
"""Rows of logits whose softmax a CPU takes at once: few enough for its cache."""


@dataclass(frozen=True)
class Score:
    """The answer to a `loglikelihood` request of lm-eval."""

    log_likelihood: float
    """Sum of the log-probabilities of its tokens, in nats."""
    is_greedy: bool
    """Whether greedy decoding would have produced it."""


@dataclass(frozen=True)
class Scorer:
    """How to run the model."""

    model: nn.Module
    """A causal language model of Transformers."""
    session: Session
    """The interventions, already hooked into the model."""
    softmax_dtype: torch.dtype | None = None
    """Precision of the log-softmax; None: that of the logits."""
    lower: LowerBlocks | None = None
    """Keeps what the blocks below the steering computed; None: nothing is kept."""
    batches: Batches = field(default_factory=Batches)
    """Batch size of the plain path that fitted."""
    mixed_dtype: torch.dtype | None = None
    """Lower precision of mixed-precision passes; None: the model's own throughout."""
    rows: RowSize = field(default_factory=RowSize)
    """Length of rows of the shared path that fitted."""

    @contextmanager
    def _passes(self) -> Iterator[None]:
        """No gradients, and the precision asked for."""
        mixed = torch.autocast(
            self.device.type, self.mixed_dtype, enabled=self.mixed_dtype is not None
        )
        with torch.no_grad(), mixed:
            yield

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        return self.model.get_input_embeddings().weight.device  # type: ignore[operator, no-any-return]

    def shared(self, requests: Sequence[Request], done: Callable[[int], object]) -> list[Score]:
        """Score `requests`, each shared token once; `done` gets the number just finished.

        Requests may ask for the same text under several interventions: these share all tokens
        before the first steered one, and below the steered blocks all tokens. Where memory runs
        out, rows are halved for what is left.
        """
        left = list(dict.fromkeys(requests))
        done(len(requests) - len(left))
        scores: dict[Request, Score] = {}
        while left:
            size = self.rows.of(row_tokens(self.device.type))
            gathered = _Gathered(left)
            if not self._fits(size, gathered, done):
                self.rows.halve(size)
            scores |= gathered.scores()
            left = [request for request in left if request not in scores]
        return [scores[request] for request in requests]

    def _fits(self, size: int, gathered: _Gathered, done: Callable[[int], object]) -> bool:
        """Score what is gathered in rows of about `size` tokens; False if they must be halved.
        The error and what it holds are gone then."""
        layout = Layout(gathered.requests, size, self.session.decides)
        try:
            cache = self._prefix_cache(layout.shared_prefix) if layout.shared_prefix else None
            for piece in layout.pieces():
                before = gathered.finished
                self._score_piece(piece, layout.shared_prefix, cache, gathered)
                done(gathered.finished - before)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or size < 2 * LEAST_TOKENS:
                raise
            return False
        return True

    def _prefix_cache(self, shared_prefix: Sequence[tuple[int, int]]) -> DynamicCache:
        """Keys and values of the tokens that all requests share."""
        ids, assigned = torch.tensor(shared_prefix).unbind(dim=1)
        cache = DynamicCache()
        with phase("prefill"), self._passes(), self.session.on(ForwardContext(assigned[None])):
            self.model(
                input_ids=ids[None].to(self.device),
                past_key_values=cache,
                use_cache=True,
                **self._keep([-1]),
            )
        return cache

    def _score_piece(
        self,
        piece: Piece,
        shared_prefix: Sequence[tuple[int, int]],
        cache: DynamicCache | None,
        gathered: _Gathered,
    ) -> None:
        """Score what is asked for in `piece`, under all interventions."""
        layer = lowest_block(self.session.interventions)
        states = None
        if self.lower is not None and layer is not None:
            with phase("prefill"):
                states = self.lower.states(
                    layer,
                    pass_key(layer, [token for token, _ in shared_prefix], piece.unsteered),
                    lambda: self._run(piece.unsteered, len(shared_prefix), cache, [-1]),
                )
            _cut_back(cache, len(shared_prefix))
        for row in piece.rows:
            resumed: AbstractContextManager[None] = nullcontext()
            if self.lower is not None and layer is not None and states is not None:
                columns = torch.from_numpy(piece.unsteered.locate(row)).to(states.device)
                resumed = self.lower.resumed(layer, states[:, columns])
            check_steered(row, shared_prefix, piece.part.requests)
            context = packed_context(row, piece.part.requests, self.device)
            with phase("continuations"), self.session.on(context), resumed:
                logits = self._run(row, len(shared_prefix), cache, row.predicting)
                gathered.add(piece.part.answers(row), row.predicting, logits, self.softmax_dtype)
            _cut_back(cache, len(shared_prefix))

    def _run(
        self, pack: PackedRow, before: int, cache: DynamicCache | None, wanted: Sequence[int]
    ) -> Tensor:
        """Logits [wanted, vocabulary] of a pack after `before` cached tokens."""
        inputs = packed_inputs(self.model, pack, before) | {"use_cache": cache is not None}
        if cache is not None:
            inputs["past_key_values"] = cache
        keep = self._keep(wanted)
        with self._passes():
            logits: Tensor = self.model(**inputs, **keep).logits[0]
        return logits if keep else logits[list(wanted)]

    def _keep(self, wanted: Sequence[int]) -> dict[str, Any]:
        """Ask for the logits of `wanted` columns alone, where the model can be asked."""
        if not _takes(self.model, "logits_to_keep"):
            return {}
        return {"logits_to_keep": torch.tensor(list(wanted), device=self.device)}

    def plain(
        self, requests: Sequence[Request], batch_size: int, done: Callable[[int], object]
    ) -> list[Score]:
        """Score `requests` in right-padded batches, longest first, each with all its tokens."""
        order = sorted(
            range(len(requests)),
            key=lambda i: (
                -len(requests[i].tokens),
                requests[i].context + requests[i].continuation,
            ),
        )

        def batch(rows: range) -> list[Score]:
            scores = self._score_batch([requests[order[row]] for row in rows])
            done(len(rows))
            return scores

        parts = self.batches.run(len(order), batch_size, batch)
        scores = dict(zip(order, (score for part in parts for score in part), strict=True))
        return [scores[i] for i in range(len(requests))]

    def _score_batch(self, batch: Sequence[Request]) -> list[Score]:
        width = max(len(request.tokens) for request in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        assigned = torch.full((len(batch), width), -1)
        for row, request in enumerate(batch):
            length = len(request.tokens)
            ids[row, :length] = torch.tensor(request.tokens)
            assigned[row, :length] = torch.tensor([request.assigned(i) for i in range(length)])
        last = torch.tensor([[row, len(r.context) - 1] for row, r in enumerate(batch)])
        query = torch.arange(len(batch))[:, None].expand(-1, width)
        context = ForwardContext(
            assigned,
            query.to(self.device),
            last.to(self.device),
            [request.key for request in batch],
        )
        with phase("continuations"), self._passes(), self.session.on(context):
            logits = self.model(input_ids=ids.to(self.device)).logits
        log_probs = F.log_softmax(logits, dim=-1, dtype=self.softmax_dtype)
        return [_score_row(row, request) for row, request in zip(log_probs, batch, strict=True)]


def _score_row(log_probs: Tensor, request: Request) -> Score:
    start = len(request.context) - 1
    chosen = log_probs[start : start + len(request.continuation)]
    target = torch.tensor(request.continuation, device=chosen.device)
    values = chosen.gather(1, target[:, None])[:, 0]
    return Score(float(values.sum()), bool((chosen.argmax(dim=-1) == target).all()))


class _Gathered:
    """Log-probabilities of the continuations' tokens as the packs deliver them.

    They stay where they were computed until all are asked for, so that the next row can be laid
    out while a GPU works on the last.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.finished = 0
        """Requests of which every token has come."""
        self._missing = [len(request.continuation) for request in requests]
        self._places: list[tuple[int, int]] = []
        self._values: list[Tensor] = []
        self._greedy: list[Tensor] = []

    def add(
        self,
        answers: Sequence[tuple[int, int, int]],
        wanted: Sequence[int],
        logits: Tensor,
        softmax_dtype: torch.dtype | None,
    ) -> None:
        """Take the answers (index in the row, request, index in its continuation) of a row from
        the logits [wanted, vocabulary] of its indices `wanted`."""
        row_of = {index: row for row, index in enumerate(wanted)}
        rows = torch.tensor([row_of[index] for index, _, _ in answers])
        targets = torch.tensor([self.requests[r].continuation[k] for _, r, k in answers])
        size = ROWS_OF_LOGITS if logits.device.type == "cpu" else len(logits)
        for start in range(0, len(logits), size):
            inside = ((start <= rows) & (rows < start + size)).nonzero()[:, 0]
            row, target = (
                (rows[inside] - start).to(logits.device),
                targets[inside].to(logits.device),
            )
            log_probs = F.log_softmax(logits[start : start + size], dim=-1, dtype=softmax_dtype)
            self._values.append(log_probs[row, target].float())
            self._greedy.append(log_probs.argmax(dim=-1)[row] == target)
            self._places += [answers[answer][1:] for answer in inside.tolist()]
        for _, request, _ in answers:
            self._missing[request] -= 1
            self.finished += self._missing[request] == 0

    def scores(self) -> dict[Request, Score]:
        """Of the requests that are finished."""
        values = [torch.zeros(len(request.continuation)) for request in self.requests]
        greedy = [True] * len(self.requests)
        log_probs = torch.cat(self._values).tolist() if self._values else []
        right = torch.cat(self._greedy).tolist() if self._greedy else []
        for (request, index), value, is_greedy in zip(self._places, log_probs, right, strict=True):
            values[request][index] = value
            greedy[request] &= is_greedy
        return {
            request: Score(float(total.sum()), is_greedy)
            for request, total, is_greedy, missing in zip(
                self.requests, values, greedy, self._missing, strict=True
            )
            if missing == 0
        }


def _cut_back(cache: DynamicCache | None, length: int) -> None:
    """Leave the first `length` tokens in every layer; blocks that did not run have added none."""
    layers: list[Any] = cache.layers if cache is not None else []
    for layer in layers:
        surplus = layer.get_seq_length() - length
        if surplus > 0:
            layer.crop(-surplus)


def _takes(model: nn.Module, name: str) -> bool:
    """Whether the model's forward has a parameter called `name`."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return name in inspect.signature(inner.forward).parameters


def sharing_limit(model: nn.Module) -> int | None:
    """Longest text that the shared path serves: the attention window, where there is one."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    windows = [getattr(config, "attention_chunk_size", None)]
    if getattr(config, "use_sliding_window", True) is not False:
        windows.append(getattr(config, "sliding_window", None))
    return min((int(window) for window in windows if window), default=None)


def supports_sharing(model: nn.Module, tolerance: float) -> bool:
    """Try the shared path on a few tokens against the plain one.

    True if both give the same log-likelihoods to `tolerance`; models that cannot take the mask
    or the positions, or that mix positions by recurrence, give False.
    """
    if masks_by_index(model):
        return False
    requests = _probe()
    alone = requests[:-1]
    scorer = Scorer(model, Session([]), torch.float32)
    plain = scorer.plain(requests, len(requests), lambda _: None)
    try:
        shared = scorer.shared(requests, lambda _: None)
        after_stem = scorer.shared(alone, lambda _: None)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError):
        return False
    pairs = [*zip(plain, shared, strict=True), *zip(plain[:-1], after_stem, strict=True)]
    return all(abs(a.log_likelihood - b.log_likelihood) <= tolerance for a, b in pairs)


def _probe() -> list[Request]:
    """Texts with a shared prefix, and a last one without it; few enough token ids for any model.

    Together they make a row several times longer than each, so that a model which goes by the
    index in the row, not by the position given, gives other scores.
    """
    shared_prefix = tuple(range(5, 5 + LEAST_SHARED_TOKENS + 1))
    texts = [tuple((7 * i + 11 * text) % 50 + 3 for i in range(12)) for text in range(5)]
    contexts = [(*shared_prefix, *tokens[:9]) for tokens in texts] + [(4, *texts[0])]
    return [
        Request(context, tokens[9:], -1, 0, 0)
        for context, tokens in zip(contexts, [*texts, texts[1]], strict=True)
    ]
