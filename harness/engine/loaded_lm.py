"""lm-eval's own Hugging Face model, loaded with clear errors, in the form that fitting reads."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from lm_eval.models.huggingface import HFLM
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig
from transformers.quantizers import AutoQuantizationConfig

from steereval.common.errors import InputError, ModelError
from steereval.common.paths import expanded
from steereval.common.text import first_line
from steereval.harness.assets import resolve_model
from steereval.models.checkpoints.fingerprint import hash_of_weights, versions_of
from steereval.models.inference.cpu_threads import fit_threads_to_machine
from steereval.models.inference.onednn_linear import use_onednn

eval_logger = logging.getLogger(__name__)

UNLOADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, SafetensorError,
)  # fmt: skip
"""Exceptions of loading a model that is missing, damaged or of an unknown kind."""


SPECIAL_TOKENS = (
    "Set `eos_token` in its tokenizer_config.json, or give another `tokenizer` in `model_args`."
)
"""Remedy for a tokenizer that lacks special tokens."""


def _remedy(error: BaseException) -> str:
    """The remedy for an error of loading."""
    if "bitsandbytes" in str(error):
        return (
            "Install bitsandbytes, or remove load_in_8bit and load_in_4bit; a checkpoint that is "
            "stored quantised (GPTQ, AWQ) needs neither."
        )
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unexpected is None:
        return (
            "Give a name of `steereval models`, a folder with model and tokenizer, or a name on "
            "the hub."
        )
    return f"Remove {unexpected[1]} from the model arguments."


def _quantises(name: str) -> bool:
    """Whether an option says how weights are quantised when they are loaded."""
    return name in ("quantization_config", "load_in_8bit", "load_in_4bit") or name.startswith(
        "bnb_4bit_"
    )


class LoadedLM(HFLM):  # type: ignore[misc]
    """A causal language model of Transformers with its tokenizer; a `Reader`."""

    _encoded: Callable[[str], list[int]] | None = None
    """Encoder with a cache of the last texts."""

    def __init__(self, pretrained: Any, fast_linear: bool, **options: Any) -> None:
        """Load a model.

        Args:
            pretrained: Name or folder, or a model, which stays as it is.
            fast_linear: Whether a model that is loaded here may get faster linear layers, whose
                results differ in the last bits.
            **options: lm-eval's options for `hf`.

        Raises:
            ModelError: It cannot be loaded, or not be steered.
        """
        if isinstance(pretrained, str):
            pretrained = expanded(pretrained)
        name = pretrained if isinstance(pretrained, str) else type(pretrained).__name__
        self.asked_for = (name, str(options.get("revision", "main")))
        if isinstance(pretrained, str):
            pretrained = resolve_model(pretrained, eval_logger.info)
        self._quantisation = {name: options.pop(name) for name in list(options) if _quantises(name)}
        self._load(pretrained, options)
        if self.device.type == "cpu":
            fit_threads_to_machine()
        if isinstance(pretrained, str) and fast_linear:
            use_onednn(self.model)

    def _load(self, pretrained: Any, options: dict[str, Any]) -> None:
        """Load as lm-eval does, with one clear sentence when that fails."""
        name = pretrained if isinstance(pretrained, str) else type(pretrained).__name__
        try:
            super().__init__(pretrained, **options)
        except UNLOADABLE as error:
            raise ModelError(
                f"the model {name} cannot be loaded: {first_line(error)}", _remedy(error)
            ) from error
        self._check_kind(name)
        self._check_special_tokens(name)

    def _create_model(self, *given: Any, quantization_config: Any = None, **options: Any) -> None:
        """Create lm-eval's model, quantised as asked.

        lm-eval hands `load_in_8bit` and the like to Transformers, whose version 5 takes them within
        a `quantization_config` alone.
        """
        quantisation = dict(self._quantisation)
        config = quantisation.pop("quantization_config", None)
        if isinstance(config, dict):
            config = AutoQuantizationConfig.from_dict(config)
        elif any(quantisation.values()):
            config = BitsAndBytesConfig(**quantisation)
        super()._create_model(*given, quantization_config=config or quantization_config, **options)

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

    def _check_special_tokens(self, name: str) -> None:
        """Raise ModelError without a token that texts can begin with; give padding a known token.

        lm-eval adds a padding token to a tokenizer without special tokens, for which the model has
        no embedding.
        """
        if self.prefix_token_id is None:
            raise ModelError(
                f"the tokenizer of {name} has neither a BOS nor an EOS token, and lm-eval begins "
                "texts with one of them",
                SPECIAL_TOKENS,
            )
        if self.tokenizer.pad_token_id >= self.model.get_input_embeddings().num_embeddings:
            self.tokenizer.pad_token_id = self.prefix_token_id

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
        """A value that changes with weights and tokenisation."""
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
        """Key of the prompts that lm-eval caches (`--cache_requests`): the tokenizer's name with a
        hash of its chat template, which may be edited under the same name."""
        template = hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()
        return f"{super().tokenizer_name}-{template[:16]}"

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse lm-eval's response cache: its keys do not name the model, so steered and unsteered
        runs on one database would be given each other's answers."""
        if getattr(cache_hook, "dbdict", None) is not None:
            raise InputError(
                "lm-eval's response cache (--use_cache) cannot distinguish steered runs",
                "Leave it out; `steereval run` keeps finished cells itself.",
            )
        super().set_cache_hook(cache_hook)

    def remember_texts(self) -> None:
        """Cache the texts encoded last from now on: lm-eval encodes a prompt again for each of
        its continuations, which follow each other."""
        self._encoded = lru_cache(8)(super().tok_encode)

    def tok_encode(self, string: str, *args: Any, **options: Any) -> list[int]:
        """Token ids of `string`, as lm-eval encodes it."""
        if args or options or self._encoded is None:
            return list(super().tok_encode(string, *args, **options))
        return list(self._encoded(str(string)))
