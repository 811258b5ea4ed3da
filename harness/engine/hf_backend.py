"""The backend that runs a model of Transformers, steered by forward hooks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LogitsProcessorList

from steereval.common.errors import InputError, ModelError, nearest_remedy
from steereval.harness.config.model_args import PATHS
from steereval.harness.engine.backend import GenerationBatch
from steereval.models.inference.generation import generating, prefilled
from steereval.models.inference.likelihood import Score, Scorer, sharing_limit, supports_sharing
from steereval.models.inference.lower_blocks import LowerBlocks, supports_skipping
from steereval.models.inference.memory import (
    SHARE_OF_STATES,
    Batches,
    RowSize,
    free_bytes,
    rows_that_fit,
)
from steereval.models.inference.prefix_tree import Request
from steereval.models.inference.sampling import (
    TAKEN,
    Finite,
    GumbelSampler,
    check_one_response,
    samples,
)
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.phase_clock import phase


def shares_prefixes(model: nn.Module, path: str) -> bool:
    """Whether texts that begin alike share tokens.

    Args:
        model: The model, which is tried out on a few tokens.
        path: `shared`, `plain`, or `auto`: shared where the model can.

    Raises:
        InputError: The path is unknown.
        ModelError: The path is `shared`, and the model cannot share.
    """
    if path not in PATHS:
        raise InputError(f"unknown path {path!r}", nearest_remedy(path, PATHS))
    if path == "plain":
        return False
    dtype = next(model.parameters()).dtype
    able = supports_sharing(model, 2e-3 if dtype == torch.float32 else 0.5)
    if path == "shared" and not able:
        raise ModelError(
            "this model cannot share prefixes: it takes no attention mask of its own",
            "Use path=auto or path=plain.",
        )
    return able


class HuggingFaceBackend:
    """Computes scores and texts."""

    def __init__(
        self,
        model: nn.Module,
        sharing: bool,
        generate: Callable[..., Tensor],
        softmax_dtype: torch.dtype | None = None,
        mixed_dtype: torch.dtype | None = None,
    ) -> None:
        """Begin with nothing kept.

        Args:
            model: A causal language model of Transformers.
            sharing: Whether texts that begin alike share tokens.
            generate: lm-eval's call of the model's `generate`: (ids, max_length, stop, **options).
            softmax_dtype: Precision of the log-softmax; None: that of the logits.
            mixed_dtype: Lower precision of mixed-precision passes; None: the model's throughout.
        """
        self.model = model
        self.sharing = sharing
        self._generate = generate
        self._softmax_dtype = softmax_dtype
        self._mixed_dtype = mixed_dtype
        skips = sharing and supports_skipping(model)
        free = free_bytes(model.get_input_embeddings().weight.device)  # type: ignore[operator]
        self.lower_blocks = LowerBlocks(model, int(SHARE_OF_STATES * free)) if skips else None
        """Keeps what the blocks below the steering computed; None: nothing is kept."""
        self._scoring_rows, self._packed_rows, self._generating_rows = (
            Batches(),
            RowSize(),
            Batches(),
        )

    @property
    def path(self) -> str:
        """How log-likelihoods are computed: `shared` or `plain`."""
        return "shared" if self.sharing else "plain"

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share the tokens they begin with."""
        return self.sharing and length <= (sharing_limit(self.model) or math.inf)

    def steering(self, interventions: Sequence[Intervention]) -> AbstractContextManager[Session]:
        """Hook interventions into the model inside the block."""
        return steered(self.model, interventions)

    def forget(self) -> None:
        """Drop the states below the steering that are kept of earlier requests."""
        if self.lower_blocks is not None:
            self.lower_blocks.cached.clear()

    def score(
        self,
        session: Session,
        requests: Sequence[Request],
        batch_size: Callable[[], int],
        done: Callable[[int], object],
    ) -> list[Score]:
        """Score on the shared path what fits in it, and the rest on the plain one."""
        scorer = Scorer(
            self.model,
            session,
            self._softmax_dtype,
            self.lower_blocks,
            self._scoring_rows,
            self._mixed_dtype,
            self._packed_rows,
        )
        short = [i for i, request in enumerate(requests) if self.shares(len(request.tokens))]
        chosen = set(short)
        long = [i for i in range(len(requests)) if i not in chosen]
        results: dict[int, Score] = {}
        if short:
            scores = scorer.shared([requests[i] for i in short], done)
            results.update(zip(short, scores, strict=True))
        if long:
            scores = scorer.plain([requests[i] for i in long], batch_size(), done)
            results.update(zip(long, scores, strict=True))
        return [results[i] for i in range(len(requests))]

    def generate(self, session: Session, batch: GenerationBatch) -> Tensor:
        """Continue prompts, in as many parts as memory asks for."""
        check_one_response(batch.options)
        limit = rows_that_fit(self.model, batch.max_length, free_bytes(batch.ids.device))

        def part(rows: range) -> Tensor:
            return self._generate_part(session, batch.rows(slice(rows.start, rows.stop)))

        parts = self._generating_rows.run(len(batch.ids), limit, part)
        longest = max(tokens.shape[1] for tokens in parts)
        pad = batch.pad_token
        return torch.cat([F.pad(t, (0, longest - t.shape[1]), value=pad) for t in parts])

    def _generate_part(self, session: Session, batch: GenerationBatch) -> Tensor:
        """Continue all prompts of `batch` together."""
        options = {**batch.options, "attention_mask": batch.mask}
        reaching = any(each.reaches_into_prompt for each in batch.prompts.positions)
        if self.sharing and not reaching and (options.get("num_beams") or 1) == 1:
            # Keys and values of a prompt are there once, however many arms go on from it.
            mixed = self._mixed_dtype
            with torch.autocast(batch.ids.device.type, mixed, enabled=mixed is not None):
                cache = prefilled(self.model, batch.ids, batch.mask)
            options["past_key_values"] = cache
        options = self._sampling(batch.noise_keys, options)
        with phase("continuations"), generating(self.model, session, batch.prompts) as passes:
            tokens = self._generate(batch.ids, batch.max_length, batch.stop, **options)
            passes.check_covers(tokens.shape[1])
        return tokens

    def _sampling(self, noise_keys: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
        """Options of generation under which each row of a batch draws for itself."""
        if not samples(options):
            return options | {"logits_processor": LogitsProcessorList([Finite()])}
        defaults = self.model.generation_config
        limits = {name: getattr(defaults, name, None) for name in ("top_k", "top_p")} | options
        sampler = GumbelSampler(noise_keys, limits)
        remaining = {name: value for name, value in options.items() if name not in TAKEN}
        return remaining | {
            "do_sample": False,
            "logits_processor": LogitsProcessorList([Finite(), sampler]),
        }
