"""The steered language model that lm-eval loads: `lm_eval --model steereval`.

A subclass of lm-eval's own Hugging Face model, so that every one of its options works. What
differs: activations are steered while it runs, and log-likelihoods share what requests have in
common. lm-eval's tokenisation, truncation, stop sequences and scoring stay its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import LogitsProcessorList

from steereval.common.errors import CellError, InputError, ModelError, nearest_remedy
from steereval.common.paths import expanded
from steereval.harness.assets import resolve_model
from steereval.harness.config.model_args import split_options
from steereval.harness.engine.fitter import (
    TOKENS,
    FitRequest,
    Fitter,
    Lower,
    Treatment,
    fitted,
    from_artefact,
    unfitted,
    unsteered,
)
from steereval.harness.engine.request_batches import (
    Answers,
    Arms,
    Prompt,
    TokenSteering,
    WaitingPrompts,
    check_steered,
    item_keys,
)
from steereval.models.checkpoints.fingerprint import hash_of_weights, versions_of
from steereval.models.inference.generation import Prompts, generating, prefilled, rows_together
from steereval.models.inference.likelihood import Score, Scorer, sharing_limit, supports_sharing
from steereval.models.inference.lower_blocks import LowerBlocks, supports_skipping
from steereval.models.inference.memory import (
    SHARE_OF_STATES,
    Batches,
    RowSize,
    free_bytes,
    rows_that_fit,
)
from steereval.models.inference.onednn_linear import use_onednn
from steereval.models.inference.prefix_tree import Request
from steereval.models.inference.sampling import TAKEN, Finite, GumbelSampler, samples
from steereval.models.methods.registry import get_method
from steereval.models.steering.hook_points import check_sites
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.phase_clock import phase
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import UNITS
from steereval.tasks.contrast.registry import load_contrast

eval_logger = logging.getLogger(__name__)
PATHS = ("auto", "shared", "plain")
NOTHING = TokenSteering(-1, Positions("generated"))
"""No steering."""


UNLOADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, SafetensorError,
)  # fmt: skip
"""What loading a model raises when it is not there, damaged or of an unknown kind."""


@register_model("steereval", "odesteer")
class SteeredLM(HFLM):  # type: ignore[misc]
    """A causal language model of Transformers, steered."""

    _answered: Hashable = None
    """The state of weights and tokenisation in which the last requests were answered."""
    _encoded: Callable[[str], list[int]] | None = None
    """Remembers the last texts that were encoded."""

    def __init__(self, pretrained: Any, **options: Any) -> None:
        """Take lm-eval's options for `hf`, the fields of `Steering`, and the method's options.

        Raises InputError or ModelError, naming what cannot be used.
        """
        steering, method_options, loader_options = split_options(options)
        self.steering = steering
        if isinstance(pretrained, str):
            pretrained = expanded(pretrained)
        name = pretrained if isinstance(pretrained, str) else type(pretrained).__name__
        self.asked_for = (name, str(options.get("revision", "main")))
        if isinstance(pretrained, str):
            pretrained = resolve_model(pretrained, eval_logger.info)
        self._load(pretrained, loader_options)
        self.quiet = False
        self.own_text: Callable[[Instance], str] | None = None
        self.fitter = Fitter(self)
        self._sharing = self._choose_path()
        skips = self._sharing and supports_skipping(self.model)
        free = free_bytes(self.model.get_input_embeddings().weight.device)
        self._lower = LowerBlocks(self.model, int(SHARE_OF_STATES * free)) if skips else None
        self._scored, self._written, self._packed = Batches(), Batches(), RowSize()
        self.treatment = self._initial_treatment(method_options)
        self._shields: dict[tuple[int, ...], int] = {}
        self._session = Session([])
        self._windows: TokenSteering | None = None
        self._waiting: WaitingPrompts | None = None
        self._batch: list[Prompt] = []
        self._written_texts: list[tuple[Prompt, str]] = []

    def _load(self, pretrained: Any, options: dict[str, Any]) -> None:
        """Load as lm-eval does, with one clear sentence when that fails."""
        name = pretrained if isinstance(pretrained, str) else type(pretrained).__name__
        try:
            super().__init__(pretrained, **options)
        except UNLOADABLE as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ModelError(
                f"the model {name} cannot be loaded: {first}",
                "Give a name of `steereval models`, a folder with model and tokenizer, or a name "
                "on the hub.",
            ) from error
        self._check_kind(name)
        # A model that was handed in stays as it is; the plain path is lm-eval's to the last bit.
        if isinstance(pretrained, str) and self.steering.path != "plain":
            use_onednn(self.model)

    def _check_kind(self, name: str) -> None:
        """Raise ModelError for what has other tokens than those of the text."""
        if self.backend != "causal":
            raise ModelError(
                f"{name} is an encoder-decoder", "Steering needs a decoder-only model."
            )
        adapters = getattr(self.model, "peft_config", {}).values()
        if any(adapter.is_prompt_learning for adapter in adapters):
            raise ModelError(
                "the adapter puts virtual tokens before every text, which shift all positions",
                "Use an adapter of another kind, such as LoRA.",
            )

    def _initial_treatment(self, method_options: dict[str, Any]) -> Treatment:
        steering = self.steering
        positions = Positions(steering.positions)
        if steering.unit not in UNITS:
            raise InputError(
                f"unknown unit {steering.unit!r}", nearest_remedy(steering.unit, UNITS)
            )
        fits = get_method(steering.method).fits
        if steering.steerer is None and steering.contrast is None and fits:
            if steering.strength or steering.method not in ("odesteer", "none"):
                raise InputError(
                    f"method {steering.method} has nothing to be fitted to",
                    "Add contrast=truthful-mini, or steerer=FOLDER.",
                )
            return unsteered()
        if steering.method == "none":
            return unsteered()
        if steering.strength is None:
            raise InputError("no strength was given", "Add strength=5.0; 0 is the unsteered model.")
        if steering.steerer is not None:
            folder = Path(steering.steerer)
            treatment = from_artefact(folder, steering.strength, steering.unit, positions)
            check_sites(self.model, list(treatment.fit(None).steerers))
            return treatment
        return self._fit_treatment(method_options, positions, float(steering.strength))

    def _fit_treatment(
        self, method_options: dict[str, Any], positions: Positions, strength: float
    ) -> Treatment:
        steering = self.steering
        if steering.layer is None:
            raise InputError(
                "no layer was given", "Add layer=14 (0-based), layer=12+14, or layer=all."
            )
        lower = Lower(strength, steering.unit, positions.rule) if steering.incremental else None
        request = FitRequest(
            steering.method,
            method_options,
            str(steering.layer),
            steering.template,
            float(steering.fraction),
            int(steering.seed),
            lower,
            _token(steering.token),
        )
        self.fitter.sites(request)
        if not get_method(steering.method).fits:
            artefact = self.fitter.vector(request)
            return unfitted(artefact, steering.method, strength, steering.unit, positions)
        data_dir = Path(steering.data_dir) if steering.data_dir else None
        contrast = load_contrast(
            str(steering.contrast), data_dir=data_dir, answers=_answers(steering.answers)
        )
        return fitted(self.fitter, contrast, request, strength, steering.unit, positions)

    def _choose_path(self) -> bool:
        if self.steering.path not in PATHS:
            raise InputError(
                f"unknown path {self.steering.path!r}", nearest_remedy(self.steering.path, PATHS)
            )
        if self.steering.path == "plain":
            return False
        dtype = next(self.model.parameters()).dtype
        able = supports_sharing(self.model, 2e-3 if dtype == torch.float32 else 0.5)
        if self.steering.path == "shared" and not able:
            raise ModelError(
                "this model cannot share prefixes: it takes no attention mask of its own",
                "Use path=auto or path=plain.",
            )
        return able

    @property
    def path(self) -> str:
        """How log-likelihoods are computed: `shared` or `plain`."""
        return "shared" if self._sharing else "plain"

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share what they have in common."""
        return self._sharing and length <= (sharing_limit(self.model) or math.inf)

    def weights_hash(self) -> str | None:
        """Hash of every bit of the weights as they are now and of the configuration, so that kept
        activations are never those of another model; None where weights are not all in memory."""
        weights = hash_of_weights(self.model)
        if weights is None:
            return None
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        # The same model may lie elsewhere.
        config.pop("_name_or_path", None)
        attention = getattr(self.model.config, "_attn_implementation", None)
        text = json.dumps([config, attention, weights], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def state(self) -> Hashable:
        """What is another once weights or tokenisation are replaced."""
        tokenizer = self.tokenizer
        tokens = id(tokenizer), len(tokenizer), str(tokenizer.chat_template), self.add_bos_token
        return versions_of(self.model), tokens, repr(self.chat_template_args)

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        """Token ids of `text`, special tokens as lm-eval would add them, or none."""
        return list(self.tok_encode(text, add_special_tokens=None if special_tokens else False))

    def chat(self, question: str, answer: str) -> str:
        """Question and unfinished answer in the tokenizer's chat template."""
        if not self.tokenizer.chat_template:
            raise ModelError("this tokenizer has no chat template", "Use template=qa.")
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return str(
            self.tokenizer.apply_chat_template(
                turns, tokenize=False, continue_final_message=True, **self.chat_template_args
            )
        )

    @property
    def tokenizer_name(self) -> str:
        """By what lm-eval tells prompts apart that it caches (`--cache_requests`): the tokenizer's
        name and its chat template, which may be edited under the same name."""
        template = hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
        return f"{super().tokenizer_name}-{template[:16]}"

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse lm-eval's response cache: its keys know no model, so steered and unsteered
        runs on one database would be given each other's answers."""
        if getattr(cache_hook, "dbdict", None) is not None:
            raise InputError(
                "lm-eval's response cache (--use_cache) cannot tell steered runs apart",
                "Leave it out; `steereval run` keeps finished cells itself.",
            )
        super().set_cache_hook(cache_hook)

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
        if self._lower is not None:
            self._lower.kept.clear()

    def answer(
        self,
        kind: str,
        requests: Sequence[Instance],
        treatments: Sequence[Treatment],
        seeds: Sequence[int],
        disable_tqdm: bool = True,
    ) -> list[Answers]:
        """Answers to `requests` of one kind, in their order, under each of `treatments`.

        What the treatments have in common is computed once: see `models.likelihood`; rows of
        several treatments generate together. The kind is the name of lm-eval's request type;
        sampled texts depend on document, treatment and its seed of `seeds` alone.
        """
        quiet = disable_tqdm or self.quiet
        state = self.state()
        if state != self._answered:
            self._answered = state
            self.forget()
        arms = Arms.of(requests, treatments)
        # lm-eval encodes a prompt again for each of its continuations, which stand together.
        self._encoded = lru_cache(8)(super().tok_encode)
        with self._steering(arms, requests):
            values = self._ask(kind, requests, arms, seeds, quiet)
        return [
            Answers(own, arms.moved(self._session, arm), arms.acts(arm))
            for arm, own in enumerate(values)
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
        with self._expecting([Prompt(request.args, steerings) for request, steerings in rows]):
            scored: list[Any] = super().loglikelihood(list(requests), quiet)
        return [[row[arm] for row in scored] for arm in range(count)]

    def _written_rows(
        self, requests: Sequence[Instance], arms: Arms, seeds: Sequence[int], quiet: bool
    ) -> list[list[str]]:
        """Texts [arms, requests], by lm-eval's own call for each set of generation options."""
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
            asked = [requests[i] for i in chosen for _ in seeds]
            with self._rows_for(len(seeds)), self._expecting(prompts):
                found = super().generate_until(asked, quiet)
            self._check_order(prompts, found)
            for place, index in enumerate(chosen):
                for arm in range(len(seeds)):
                    texts[arm][index] = found[place * len(seeds) + arm]
        return texts

    @contextmanager
    def _expecting(self, prompts: Sequence[Prompt]) -> Iterator[None]:
        """Let `prompts` wait until lm-eval hands on their texts, which it must do inside."""
        self._waiting, self._written_texts = WaitingPrompts(prompts), []
        try:
            yield
            self._waiting.check_empty()
        finally:
            self._waiting, self._batch = None, []

    def _check_order(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
        """Check that lm-eval gives each text to the prompt that it was generated for.

        Raises:
            CellError: A text is not part of what the model wrote for its prompt.
        """
        written = {id(prompt): text for prompt, text in self._written_texts}
        for prompt, text in zip(prompts, texts, strict=True):
            if text.strip() not in written[id(prompt)]:
                raise CellError(
                    f"lm-eval returns a text for a prompt that it was not generated for: {text!r}",
                    "It changed the order of the requests; steereval works with lm-eval 0.4.13.",
                )

    @contextmanager
    def _rows_for(self, arms: int) -> Iterator[None]:
        """Let the prompts of lm-eval's batch size generate together under each of several arms."""
        prompts = self.batch_size
        if prompts != "auto":
            self.batch_size_per_gpu = rows_together(int(prompts), arms, self.device.type)
        try:
            yield
        finally:
            self.batch_size_per_gpu = prompts

    def _rolling(
        self, requests: Sequence[Instance], steerings: Sequence[TokenSteering], quiet: bool
    ) -> list[float]:
        """Log-likelihoods of whole texts. They are steered from their first token on, so that
        treatments have nothing to share."""
        answers: dict[int, float] = {}
        for steering in dict.fromkeys(steerings):
            chosen = [index for index, each in enumerate(steerings) if each == steering]
            with self._windows_under(steering):
                values = super().loglikelihood_rolling([requests[i] for i in chosen], quiet)
            answers.update(zip(chosen, values, strict=True))
        return [answers[index] for index in range(len(requests))]

    @contextmanager
    def _windows_under(self, steering: TokenSteering) -> Iterator[None]:
        """Let `steering` act on windows of rolling texts, which have no prompt of their own."""
        self._windows = steering
        try:
            yield
        finally:
            self._windows = None

    @contextmanager
    def _steering(self, arms: Arms, requests: Sequence[Instance]) -> Iterator[None]:
        """Hook everything into the model that acts on `requests`."""
        self._shields = self._shielded_lengths(requests, arms)
        with steered(self.model, arms.interventions) as session:
            self._session = session
            yield

    def _shielded_lengths(
        self, requests: Sequence[Instance], arms: Arms
    ) -> dict[tuple[int, ...], int]:
        """Few-shot tokens in front of each prompt's own text, by the prompt's tokens.

        Only positions that reach into the prompt need them.
        """
        rows = arms.steerings
        acting = {each.positions for row in rows for each in row if each.intervention >= 0}
        reaching = [each.rule for each in acting if each.reaches_into_prompt]
        if not reaching or self.steering.steer_fewshot:
            return {}
        if self.own_text is None:
            raise InputError(
                f"positions {reaching[0]!r} reach into the prompt, and lm-eval "
                "does not say where its few-shot text ends",
                "Use `steereval run`, or add steer_fewshot=True to steer all of the prompt.",
            )
        lengths: dict[tuple[int, ...], int] = {}
        for request in requests:
            context = request.args[0]
            start = context.rfind(self.own_text(request))
            if start < 0:
                raise CellError(
                    f"positions {reaching[0]!r} reach into the prompt, which does not hold the "
                    "task's own text, so that the end of its few-shot text is not known",
                    "Leave out the chat template, use positions: generated, or add "
                    "steer_fewshot=True to steer all of the prompt.",
                )
            before = context[:start]
            tokens = tuple(self.tok_encode(context.rstrip()))
            lengths[tokens] = len(self.tok_encode(before)) if before else 0
        return lengths

    def _shielded(self, prompt: tuple[int, ...]) -> int:
        """Leading tokens of a prompt that are never steered: BOS and few-shot text."""
        special = (self.tokenizer.bos_token_id, self.prefix_token_id)
        bos = 1 if prompt and prompt[0] in special else 0
        if prompt in self._shields:
            return max(bos, self._shields[prompt])
        for full, shots in self._shields.items():
            if len(full) > len(prompt) and full[len(full) - len(prompt) :] == prompt:
                return max(bos, shots - (len(full) - len(prompt)))
        return bos

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Any]:
        """Scores (log-likelihood, is greedy) of tokenised requests: one for each treatment that
        the prompt carries, or one alone where it carries none."""
        steerings = self._steerings([key for key, _, _ in requests])
        rows = list(zip(steerings, requests, strict=True))
        flat = [
            self._request(context, answer, steering)
            for own, (_, context, answer) in rows
            for steering in own
        ]
        bar = tqdm(
            total=len(flat), disable=disable_tqdm or self.quiet, desc="Running loglikelihood"
        )
        scores = iter(self._scores(flat, requests, override_bs, bar.update))
        bar.close()
        answers = [tuple(next(scores) for _ in own) for own in steerings]
        # lm-eval's own windows of rolling texts stand under one treatment each.
        return answers if self._waiting is not None else [row[0] for row in answers]

    def _steerings(self, keys: Sequence[Any]) -> list[tuple[TokenSteering, ...]]:
        """What acts on tokenised requests, whose keys are lm-eval's (prompt, continuation) or, for
        the windows of rolling texts, None.

        Raises:
            CellError: lm-eval asks outside of `answer` while this model steers.
        """
        if self._waiting is not None:
            return [prompt.steerings for prompt in self._waiting.take(keys)]
        if self._windows is None:
            self._check_unsteered()
        return [(self._windows or NOTHING,)] * len(keys)

    def _check_unsteered(self) -> None:
        """Raise CellError if this model steers requests: this is not a request."""
        if self.treatment.strength != 0:
            raise CellError(
                f"{self.treatment.label} acts on requests, and the model was called without one",
                "Call loglikelihood, loglikelihood_rolling or generate_until.",
            )

    def _scores(
        self,
        prepared: Sequence[Request],
        requests: list[tuple[Any, list[int], list[int]]],
        override_bs: int | None,
        done: Callable[[int], object],
    ) -> list[tuple[float, bool]]:
        """Score on the shared path what fits in it, and the rest on the plain one."""
        scorer = Scorer(
            self.model,
            self._session,
            self.softmax_dtype,
            self._lower,
            self._scored,
            self.mixed_precision_dtype,
            self._packed,
        )
        short = [i for i, r in enumerate(prepared) if self.shares(len(r.tokens))]
        chosen = set(short)
        long = [i for i in range(len(prepared)) if i not in chosen]
        results: dict[int, Score] = {}
        if short:
            scores = scorer.shared([prepared[i] for i in short], done)
            results.update(zip(short, scores, strict=True))
        if long:
            rows = [prepared[i] for i in long]
            scores = scorer.plain(rows, self._rows(requests, override_bs), done)
            results.update(zip(long, scores, strict=True))
        answers = [(s.log_likelihood, s.is_greedy) for _, s in sorted(results.items())]
        self._check_finite(answers, prepared)
        return answers

    def _request(self, context: list[int], answer: list[int], steering: TokenSteering) -> Request:
        """Cut to the context window from the left, as lm-eval does, and say what is steered."""
        if not answer:
            raise CellError(
                "a continuation has no tokens of its own: its text merges into the prompt's",
                "Check the task's choices and target delimiter.",
            )
        if not context:
            raise CellError(
                "a prompt has no tokens: lm-eval leaves the spaces at its end to the continuation",
                "Check the task's prompt; add_bos_token=True gives each prompt a first token.",
            )
        if len(answer) > self.max_length:
            raise CellError(
                f"a continuation of {len(answer)} tokens leaves no room for a prompt",
                f"The model's context window is {self.max_length}.",
            )
        tokens = (context + answer)[-(self.max_length + 1) :]
        prompt = tuple(tokens[: len(tokens) - len(answer)])
        bare = Request(prompt, tuple(answer), -1, 0, 0)
        if steering.intervention < 0:
            return bare
        first, end = steering.positions.interval(len(prompt), self._shielded(prompt))
        return replace(bare, intervention=steering.intervention, first=first, end=end)

    def _rows(self, requests: list[tuple[Any, list[int], list[int]]], override: int | None) -> int:
        if override is not None:
            return override
        if self.batch_size == "auto":
            longest = sorted(requests, key=lambda r: -len(r[1]) - len(r[2]))
            return int(self._detect_batch_size(longest, 0))
        return int(self.batch_size)

    def _check_finite(
        self, answers: Sequence[tuple[float, bool]], requests: Sequence[Request]
    ) -> None:
        bad = [i for i, (value, _) in enumerate(answers) if not math.isfinite(value)]
        if bad:
            index = requests[bad[0]].intervention
            label = self._session.interventions[index].label if index >= 0 else "no steering"
            raise CellError(
                f"{len(bad)} of {len(answers)} log-likelihoods under {label} are not finite",
                "Lower the strength, or run the model in float32.",
            )

    def unsteered_likelihoods(self, texts: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Log-likelihood and number of tokens of each continuation after its prompt, unsteered.

        An empty continuation has log-likelihood 0 and no tokens.
        """
        pairs = [self._encode_pair(prompt, text) if text else ([], []) for prompt, text in texts]
        asked = [i for i, (_, answer) in enumerate(pairs) if answer]
        with self._steering(Arms([], [], []), []), self._windows_under(NOTHING):
            requests: list[Any] = [(None, *pairs[i]) for i in asked]
            scores = self._loglikelihood_tokens(requests) if requests else []
        totals = dict(zip(asked, (value for value, _ in scores), strict=True))
        return [(totals.get(i, 0.0), len(answer)) for i, (_, answer) in enumerate(pairs)]

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Token ids of `string`, as lm-eval encodes it."""
        if args or options or self._encoded is None:
            return list(super().tok_encode(string, *args, **options))
        return list(self._encoded(str(string)))

    def tok_batch_encode(
        self, strings: list[str], *args: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode the prompts of the next batch, and find what acts on each."""
        self._batch = self._waiting.take(strings) if self._waiting is not None else []
        encoded: tuple[torch.Tensor, torch.Tensor] = super().tok_batch_encode(
            strings, *args, **options
        )
        return encoded

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **kwargs: Any
    ) -> torch.Tensor:
        """Generate from a left-padded batch of prompts, in as many parts as memory asks for;
        outside of `answer`, unsteered.

        Raises:
            CellError: lm-eval did not say which prompts these are.
        """
        if self._waiting is None:
            self._check_unsteered()
            plain: torch.Tensor = super()._model_generate(context, max_length, stop, **kwargs)
            return plain
        if len(self._batch) != len(context):
            raise CellError(
                f"lm-eval generates from {len(context)} prompts where it named {len(self._batch)}",
                "It works in an order of its own; steereval works with lm-eval 0.4.13.",
            )
        mask = kwargs.pop("attention_mask", torch.ones_like(context))
        limit = rows_that_fit(self.model, max_length, free_bytes(context.device))

        def part(rows: range) -> torch.Tensor:
            own = slice(rows.start, rows.stop)
            batch = self._batch[own]
            options = kwargs | {"attention_mask": mask[own]}
            return self._generate(batch, context[own], max_length, stop, options)

        parts = self._written.run(len(context), limit, part)
        longest = max(tokens.shape[1] for tokens in parts)
        pad = self.tokenizer.pad_token_id
        return torch.cat([F.pad(t, (0, longest - t.shape[1]), value=pad) for t in parts])

    def _generate(
        self,
        batch: Sequence[Prompt],
        context: torch.Tensor,
        max_length: int,
        stop: list[str],
        options: dict[str, Any],
    ) -> torch.Tensor:
        """Generate from the left-padded prompts `context` [rows, width] of `batch`."""
        mask = options["attention_mask"]
        padding = (mask.cumsum(dim=1) == 0).sum(dim=1).cpu()
        rows = [tuple(r[p:]) for r, p in zip(context.tolist(), padding.tolist(), strict=True)]
        prompts = Prompts(
            padding=padding,
            width=context.shape[1],
            unsteered_prefix=[self._shielded(row) for row in rows],
            interventions=[prompt.steerings[0].intervention for prompt in batch],
            positions=[prompt.steerings[0].positions for prompt in batch],
            keys=[str(row) for row in rows],
        )
        reaching = any(each.reaches_into_prompt for each in prompts.positions)
        if self._sharing and not reaching and (options.get("num_beams") or 1) == 1:
            # What the model makes of a prompt is there once, however many arms go on from it.
            mixed = self.mixed_precision_dtype
            with torch.autocast(self.device.type, mixed, enabled=mixed is not None):
                cache = prefilled(self.model, context, mask)
            options = options | {"past_key_values": cache}
        with phase("continuations"), generating(self.model, self._session, prompts) as passes:
            tokens: torch.Tensor = super()._model_generate(
                context, max_length, stop, **self._sampling(batch, options)
            )
            passes.check_covers(tokens.shape[1])
        written = tokens[:, context.shape[1] :].tolist()
        decoded = [self.tok_decode(row) for row in written]
        self._written_texts += zip(batch, decoded, strict=True)
        return tokens

    def _sampling(self, batch: Sequence[Prompt], options: dict[str, Any]) -> dict[str, Any]:
        """Options of generation under which each row of the batch draws for itself."""
        if not samples(options):
            return options | {"logits_processor": LogitsProcessorList([Finite()])}
        usual = self.model.generation_config
        asked = {name: getattr(usual, name, None) for name in ("top_k", "top_p")} | options
        sampler = GumbelSampler([prompt.noise_key for prompt in batch], asked)
        kept = {name: value for name, value in options.items() if name not in TAKEN}
        return kept | {
            "do_sample": False,
            "logits_processor": LogitsProcessorList([Finite(), sampler]),
        }


def _token(value: str) -> str:
    if value not in TOKENS:
        raise InputError(f"unknown token {value!r}", f"Use {' or '.join(TOKENS)}.")
    return value


def _answers(value: str) -> Any:
    if value not in ("all", "best"):
        raise InputError(f"unknown answers {value!r}", "Use all or best.")
    return value
