"""Fluency: perplexity of a response, after its prompt, under a model that was not steered."""

from __future__ import annotations

from collections.abc import Sequence

from steereval.tasks.catalogue.cards import MetricCard
from steereval.tasks.judges.judge import Answer, Judge, Scorer, Texts, Value


def _texts(answer: Answer) -> Texts:
    return answer.prompt, answer.response


def _values(numbers: Sequence[float]) -> dict[str, Value]:
    """Summed negative log-likelihood in nats, over a number of tokens."""
    log_likelihood, tokens = numbers
    return {"fluency": (-log_likelihood, tokens)}


FLUENCY = Judge(
    "fluency",
    "how likely is the response to another language model?",
    {"": Scorer("likelihood", "openai-community/gpt2-xl")},
    _texts,
    _values,
    {"fluency": MetricCard("ratio", False)},
)
