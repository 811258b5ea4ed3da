"""Loading a judge's model, or making one that stands in for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from steereval.common.errors import ModelError
from steereval.models.judges.classifier import LABEL, Toxic
from steereval.models.judges.engine import TextModel
from steereval.models.judges.likelihood import Likelihood
from steereval.models.judges.reward import Reward
from steereval.models.judges.yes_no import YesNo

ENGINES: dict[str, tuple[type[TextModel], Any]] = {
    "yes_no": (YesNo, AutoModelForCausalLM),
    "likelihood": (Likelihood, AutoModelForCausalLM),
    "reward": (Reward, AutoModelForSequenceClassification),
    "classifier": (Toxic, AutoModelForSequenceClassification),
}
"""By name: what asks the model, and what loads it."""

_PLAIN_CHAT = "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"


@dataclass(frozen=True)
class Loaded:
    """A judge that is ready."""

    engine: Any
    """A TextModel with `score`."""
    content: str = ""
    """Names a stand-in; what a real judge's files hold is for the caller to say."""


def load_engine(
    engine: str, location: str, revision: str, dtype: str, device: str, batch_size: int
) -> Loaded:
    """The model at `location` behind the engine of that name. Raises ModelError."""
    asks, loads = ENGINES[engine]
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision)
        model = loads.from_pretrained(location, revision=revision, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the judge {location} cannot be loaded: {str(error).strip().splitlines()[0]}",
            "Give a folder or a name on the hub that can be had.",
        ) from error
    return Loaded(asks(model.eval().to(device), tokenizer, batch_size))


def stand_in(engine: str, tokenizer_location: str, device: str, batch_size: int) -> Loaded:
    """A tiny model with random weights, always the same ones, with the engine's interface and
    another model's tokenizer. What it says means nothing."""
    asks, loads = ENGINES[engine]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_location)
    if not tokenizer.chat_template:
        tokenizer.chat_template = _PLAIN_CHAT
    labels = {0: LABEL}
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=2048, id2label=labels, label2id={LABEL: 0}, num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = loads.from_config(config)
    made = asks(model.eval().to(device), tokenizer, batch_size)
    return Loaded(made, f"stand-in with the tokenizer of {tokenizer_location}")
