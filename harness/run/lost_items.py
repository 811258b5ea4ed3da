"""Items that are lost: their requests cannot be given to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance

from steereval.harness.engine.arms import Answers
from steereval.harness.engine.token_requests import Unanswerable
from steereval.results.lm_eval.samples import item_ids

PLACEHOLDERS: Mapping[str, Any] = {
    "loglikelihood": (0.0, False),
    "loglikelihood_rolling": 0.0,
    "generate_until": "",
}
"""By kind an answer to a request of a lost item, whose samples are dropped after scoring."""

Ask = Callable[[list[Instance]], list[Answers]]
"""Answers requests in all arms."""


def answer_possible(
    kind: str, requests: Sequence[Instance], ask: Ask
) -> tuple[list[Answers], dict[int, str]]:
    """Answer the requests that the model can be given.

    Args:
        kind: lm-eval's name of the request type.
        requests: Requests of that kind.
        ask: Answers requests in all arms.

    Returns:
        The answers of each arm to all requests, with placeholders for the others; {place of such a
        request: reason}.

    Raises:
        Unanswerable: It can be given none of them.
    """
    try:
        return ask(list(requests)), {}
    except Unanswerable as error:
        reasons = error.reasons
        if len(reasons) == len(requests):
            raise
    possible = [place for place in range(len(requests)) if place not in reasons]
    answers = ask([requests[place] for place in possible])
    filled = []
    for of_arm in answers:
        values = [PLACEHOLDERS[kind]] * len(requests)
        for place, value in zip(possible, of_arm.values, strict=True):
            values[place] = value
        filled.append(replace(of_arm, values=values))
    return filled, reasons


def without_lost(
    samples: Sequence[dict[str, Any]], lost: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The samples of items that are not among `lost`, {item id: reason}."""
    if not lost:
        return list(samples)
    ids = item_ids(samples)
    return [sample for sample, item in zip(samples, ids, strict=True) if item not in lost]
