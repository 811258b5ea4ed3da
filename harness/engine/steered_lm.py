"""The steered language model that lm-eval loads: `lm_eval --model steereval`.

A subclass of lm-eval's own Hugging Face model, so that every one of its options works. Two things
differ: activations are steered while it runs, and log-likelihoods share the tokens that requests
have in common. lm-eval's tokenisation, truncation, stop sequences and scoring stay its own.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from tqdm import tqdm

from steereval.common.activity import add_requests, expect_requests
from steereval.common.errors import CellError
from steereval.harness.config.model_args import split_options
from steereval.harness.engine.arms import NOTHING, Answers, Arms, TokenSteering, check_steered
from steereval.harness.engine.backend import Backend, GenerationBatch
from steereval.harness.engine.current_requests import CurrentRequests
from steereval.harness.engine.fitter import Fitter
from steereval.harness.engine.hf_backend import HuggingFaceBackend, shares_prefixes
from steereval.harness.engine.lm_eval_program import print_errors_as_sentences
from steereval.harness.engine.loaded_lm import SPECIAL_TOKENS, LoadedLM
from steereval.harness.engine.requested_treatment import requested_treatment
from steereval.harness.engine.token_requests import check_finite, check_prompts, token_requests
from steereval.harness.engine.treatments import Treatment
from steereval.harness.engine.unsteered_prefix import OwnText, UnsteeredPrefixes, few_shot_tokens
from steereval.harness.engine.waiting_prompts import Prompt, item_keys
from steereval.models.inference.generation import Prompts, rows_together

eval_logger = logging.getLogger(__name__)

AUTO_PROMPTS = 32
"""Prompts that generate together for `batch_size=auto`, as far as memory allows."""


@register_model("steereval", "odesteer")
class SteeredLM(LoadedLM):
    """A causal language model of Transformers, steered."""

    _answered: Hashable = None
    """The state of weights and tokenisation in which the last requests were answered."""

    def __init__(self, pretrained: Any, **options: Any) -> None:
        """Take lm-eval's options for `hf`, the fields of `Steering`, and the method's options.

        Raises:
            InputError: An option cannot be used.
            ModelError: The model cannot be loaded or steered.
        """
        steering, method_options, loader_options = split_options(options)
        self.steering = steering
        # The plain path is lm-eval's to the last bit.
        super().__init__(pretrained, steering.path != "plain", **loader_options)
        self.quiet = False
        self.own_text: OwnText | None = None
        self.fitter = Fitter(self)
        self.steering_backend = self.new_backend()
        self.treatment = requested_treatment(steering, method_options, self.fitter)
        self._current = CurrentRequests()

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Self:
        """As lm-eval's; its program prints errors of this package as sentences from then on."""
        print_errors_as_sentences()
        model: Self = super().create_from_arg_string(arg_string, additional_config)
        return model

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Self:
        """As lm-eval's; its program prints errors of this package as sentences from then on."""
        print_errors_as_sentences()
        model: Self = super().create_from_arg_obj(arg_dict, additional_config)
        return model

    def new_backend(self) -> Backend:
        """The backend that runs the loaded model, which a subclass may replace.

        Raises:
            InputError: The path asked for is unknown.
            ModelError: The model cannot take it.
        """
        return HuggingFaceBackend(
            self.model,
            shares_prefixes(self.model, self.steering.path),
            super()._model_generate,
            self.softmax_dtype,
            self.mixed_precision_dtype,
        )

    @property
    def path(self) -> str:
        """How log-likelihoods are computed: `shared` or `plain`."""
        return self.steering_backend.path

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share the tokens they begin with."""
        return self.steering_backend.shares(length)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation under steering, and whether it is greedy."""
        return self._alone("loglikelihood", requests, disable_tqdm)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each whole text under steering."""
        return self._alone("loglikelihood_rolling", requests, disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Text generated under steering."""
        return self._alone("generate_until", requests, disable_tqdm)

    def _alone(self, kind: str, requests: list[Instance], disable_tqdm: bool) -> list[Any]:
        seeds = [torch.initial_seed()]
        (answers,) = self.answer(kind, requests, [self.treatment], seeds, disable_tqdm)
        if answers.acts:
            treatment = self.treatment
            check_steered(treatment.label, treatment.positions.rule, answers.moved.values())
        return answers.values

    def forget(self) -> None:
        """Drop what is kept of requests that were answered, so that time can be measured."""
        self.steering_backend.forget()

    def answer(
        self,
        kind: str,
        requests: Sequence[Instance],
        treatments: Sequence[Treatment],
        seeds: Sequence[int],
        disable_tqdm: bool = True,
    ) -> list[Answers]:
        """Answer requests under several treatments.

        Tokens that the treatments have in common are computed once, and rows of several
        treatments generate together.

        Args:
            kind: lm-eval's name of the request type.
            requests: Requests of that kind.
            treatments: What acts on them.
            seeds: A sample seed for each treatment; sampled texts depend on document, treatment
                and seed alone.
            disable_tqdm: Whether to show no progress bar.

        Returns:
            For each treatment the answers in the order of the requests.

        Raises:
            Unanswerable: Some requests have no tokens where they need some, or too many; nothing
                was computed.
            CellError: lm-eval changed the requests on the way, steering failed, or a result is
                not finite.
        """
        quiet = disable_tqdm or self.quiet
        state = self.state()
        if state != self._answered:
            self._answered = state
            self.forget()
        arms = Arms.of(requests, treatments)
        self.remember_texts()
        with self._steering(arms, requests):
            values = self._ask(kind, requests, arms, seeds, quiet)
            displacements = [arms.moved(self._current.session, arm) for arm in range(len(values))]
        return [
            Answers(of_arm, moved, arms.acts(arm))
            for arm, (of_arm, moved) in enumerate(zip(values, displacements, strict=True))
        ]

    def _ask(
        self,
        kind: str,
        requests: Sequence[Instance],
        arms: Arms,
        seeds: Sequence[int],
        quiet: bool,
    ) -> list[list[Any]]:
        """The answers of each arm, which has a seed, by lm-eval's own call for the kind."""
        if kind == "loglikelihood":
            return self._scored_rows(requests, arms, len(seeds), quiet)
        if kind == "generate_until":
            return self._written_rows(requests, arms, seeds, quiet)
        return [self._rolling(requests, [row[arm] for row in arms.steerings], quiet)
                for arm in range(len(seeds))]  # fmt: skip

    def _scored_rows(
        self, requests: Sequence[Instance], arms: Arms, count: int, quiet: bool
    ) -> list[list[Any]]:
        """Scores [arms, requests] of continuations, by lm-eval's own call."""
        rows = zip(requests, arms.steerings, strict=True)
        with self._current.expecting(
            [Prompt(request.args, steerings) for request, steerings in rows]
        ):
            scored: list[Any] = super().loglikelihood(list(requests), quiet)
        return [[row[arm] for row in scored] for arm in range(count)]

    def _written_rows(
        self, requests: Sequence[Instance], arms: Arms, seeds: Sequence[int], quiet: bool
    ) -> list[list[str]]:
        """Texts [arms, requests], by lm-eval's own call for each set of generation options."""
        if self.eot_token_id is None:
            raise CellError(
                "the tokenizer has no EOS token, at which lm-eval ends generated texts",
                SPECIAL_TOKENS,
            )
        check_prompts([request.args[0] for request in requests], self.tok_encode)
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        keys = item_keys(requests)
        texts: list[list[str]] = [[""] * len(requests) for _ in seeds]
        for chosen in groups.values():
            # All arms of a prompt stand together, so that they are generated together.
            prompts = [
                Prompt(requests[i].args[0], (steering,), f"{seed} {keys[i]}")
                for i in chosen
                for steering, seed in zip(arms.steerings[i], seeds, strict=True)
            ]
            repeated = [requests[i] for i in chosen for _ in seeds]
            expect_requests(len(prompts))
            with self._rows_for(len(seeds)), self._current.expecting(prompts):
                generated = super().generate_until(repeated, quiet)
            self._current.check_order(prompts, generated)
            for position, index in enumerate(chosen):
                for arm in range(len(seeds)):
                    texts[arm][index] = generated[position * len(seeds) + arm]
        return texts

    @contextmanager
    def _rows_for(self, arms: int) -> Iterator[None]:
        """Let the prompts of lm-eval's batch size generate together under each of several arms.

        For `auto` lm-eval would run 64 texts as long as the model allows, which takes hours on a
        CPU. No trial is needed here, since a batch for which memory runs out is halved.
        """
        batch_size: Any = self.batch_size
        prompts = AUTO_PROMPTS if self.batch_size == "auto" else int(self.batch_size)
        self.batch_size_per_gpu = rows_together(prompts, arms, self.device.type)
        try:
            yield
        finally:
            self.batch_size_per_gpu = batch_size

    def _rolling(
        self, requests: Sequence[Instance], steerings: Sequence[TokenSteering], quiet: bool
    ) -> list[float]:
        """Log-likelihoods of whole texts. They are steered from their first token on, so that
        treatments have nothing to share."""
        answers: dict[int, float] = {}
        for steering in dict.fromkeys(steerings):
            chosen = [index for index, each in enumerate(steerings) if each == steering]
            with self._current.windows_under(steering), self._rows_for(1):
                values = super().loglikelihood_rolling([requests[i] for i in chosen], quiet)
            answers.update(zip(chosen, values, strict=True))
        return [answers[index] for index in range(len(requests))]

    @contextmanager
    def _steering(self, arms: Arms, requests: Sequence[Instance]) -> Iterator[None]:
        """Put the interventions into the model that act on `requests`."""
        few_shot = (
            {}
            if self.steering.steer_fewshot
            else few_shot_tokens(requests, arms, self.own_text, self.tok_encode)
        )
        prefixes = UnsteeredPrefixes((self.tokenizer.bos_token_id, self.prefix_token_id), few_shot)
        with self.steering_backend.steering(arms.interventions) as session:
            self._current = CurrentRequests(session, prefixes)
            try:
                yield
            finally:
                self._current = CurrentRequests()

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Any]:
        """Scores (log-likelihood, is greedy) of tokenised requests: one for each treatment that
        the prompt carries, or one alone where it carries none."""
        steerings = self._steerings([key for key, _, _ in requests])
        flat = token_requests(requests, steerings, self.max_length, self._current.prefixes)
        bar = tqdm(
            total=len(flat), disable=disable_tqdm or self.quiet, desc="Running loglikelihood"
        )
        session = self._current.session

        def advance(count: int) -> None:
            bar.update(count)
            add_requests(count)

        expect_requests(len(flat))
        scores = self.steering_backend.score(
            session, flat, lambda: self._rows(requests, override_bs), advance
        )
        bar.close()
        check_finite([score.log_likelihood for score in scores], flat, session.interventions)
        pairs = iter([(score.log_likelihood, score.is_greedy) for score in scores])
        answers = [tuple(next(pairs) for _ in row) for row in steerings]
        # lm-eval's own windows of rolling texts stand under one treatment each.
        return answers if self._current.waits else [row[0] for row in answers]

    def _steerings(self, keys: Sequence[Any]) -> list[tuple[TokenSteering, ...]]:
        """Steering of tokenised requests, by their keys.

        Raises:
            CellError: lm-eval sends requests outside of `answer` while this model steers.
        """
        steerings = self._current.steerings(keys)
        if steerings is None:
            self._check_unsteered()
            return [(NOTHING,)] * len(keys)
        return steerings

    def _check_unsteered(self) -> None:
        """Raise CellError if this model steers requests: this is not a request."""
        if self.treatment.strength != 0:
            raise CellError(
                f"{self.treatment.label} acts on requests, and the model was called without one",
                "Call loglikelihood, loglikelihood_rolling or generate_until.",
            )

    def _rows(self, requests: list[tuple[Any, list[int], list[int]]], override: int | None) -> int:
        if override is not None:
            return override
        if self.batch_size == "auto":
            longest = sorted(requests, key=lambda r: -len(r[1]) - len(r[2]))
            return int(self._detect_batch_size(longest, 0))
        return int(self.batch_size)

    def unsteered_likelihoods(self, texts: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Log-likelihood and number of tokens of each continuation after its prompt, unsteered.

        An empty continuation has log-likelihood 0 and no tokens.
        """
        pairs = [self._encode_pair(prompt, text) if text else ([], []) for prompt, text in texts]
        nonempty = [i for i, (_, answer) in enumerate(pairs) if answer]
        with self._steering(Arms([], [], []), []), self._current.windows_under(NOTHING):
            requests: list[Any] = [(None, *pairs[i]) for i in nonempty]
            scores = self._loglikelihood_tokens(requests) if requests else []
        totals = dict(zip(nonempty, (value for value, _ in scores), strict=True))
        return [(totals.get(i, 0.0), len(answer)) for i, (_, answer) in enumerate(pairs)]

    def tok_batch_encode(
        self, strings: list[str], *args: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode the prompts of the next batch, and note what acts on each."""
        self._current.begin_batch(strings)
        encoded: tuple[torch.Tensor, torch.Tensor] = super().tok_batch_encode(
            strings, *args, **options
        )
        return encoded

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        """Generate from a left-padded batch of prompts; outside of `answer`, unsteered.

        Raises:
            CellError: lm-eval did not say which prompts these are.
        """
        current = self._current
        if not current.waits:
            self._check_unsteered()
            plain: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
            return plain
        current.check_batch(len(context))
        mask = kwargs.pop("attention_mask", torch.ones_like(context))
        batch = GenerationBatch(
            context,
            mask,
            self._prompts(context, mask),
            [prompt.noise_key for prompt in current.batch],
            max_length,
            stop,
            kwargs,
            self.tokenizer.pad_token_id,
        )
        tokens = self.steering_backend.generate(current.session, batch)
        written = tokens[:, context.shape[1] :].tolist()
        current.note_texts([self.tok_decode(row) for row in written])
        add_requests(len(written))
        return tokens

    def _prompts(self, context: torch.Tensor, mask: torch.Tensor) -> Prompts:
        """How the current batch of left-padded prompts [rows, width] is steered."""
        batch = self._current.batch
        padding = (mask.cumsum(dim=1) == 0).sum(dim=1).cpu()
        rows = [tuple(r[p:]) for r, p in zip(context.tolist(), padding.tolist(), strict=True)]
        return Prompts(
            padding=padding,
            width=context.shape[1],
            unsteered_prefix=[self._current.prefixes.of(row) for row in rows],
            interventions=[prompt.steerings[0].intervention for prompt in batch],
            positions=[prompt.steerings[0].positions for prompt in batch],
            keys=[str(row) for row in rows],
        )
