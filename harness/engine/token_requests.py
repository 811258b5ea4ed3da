"""Tokenised requests of lm-eval in the form that backends score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from steereval.common.errors import CellError
from steereval.harness.engine.arms import TokenSteering
from steereval.harness.engine.unsteered_prefix import UnsteeredPrefixes
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.intervention import Intervention


@dataclass(frozen=True)
class Tokens:
    """A tokenised request."""

    context: list[int]
    """Token ids of the prompt."""
    continuation: list[int]
    """Token ids to score."""


def token_request(
    tokens: Tokens, steering: TokenSteering, max_length: int, prefixes: UnsteeredPrefixes
) -> Request:
    """Cut a request to the context window from the left, as lm-eval does, and say what is steered.

    Args:
        tokens: The request.
        steering: What acts on it.
        max_length: Tokens in the model's context window.
        prefixes: Leading tokens of prompts that are never steered.

    Raises:
        CellError: Prompt or continuation has no tokens, or the continuation too many.
    """
    context, continuation = tokens.context, tokens.continuation
    if not continuation:
        raise CellError(
            "a continuation has no tokens of its own: its text merges into the prompt's",
            "Check the task's choices and target delimiter.",
        )
    if not context:
        raise CellError(
            "a prompt has no tokens: lm-eval leaves the spaces at its end to the continuation",
            "Check the task's prompt; add_bos_token=True gives each prompt a first token.",
        )
    if len(continuation) > max_length:
        raise CellError(
            f"a continuation of {len(continuation)} tokens leaves no room for a prompt",
            f"The model's context window is {max_length}.",
        )
    window = (context + continuation)[-(max_length + 1) :]
    prompt = tuple(window[: len(window) - len(continuation)])
    unsteered = Request(prompt, tuple(continuation), -1, 0, 0)
    if steering.intervention < 0:
        return unsteered
    first, end = steering.positions.interval(len(prompt), prefixes.of(prompt))
    return replace(unsteered, intervention=steering.intervention, first=first, end=end)


def named_token_request(
    request: tuple[Any, list[int], list[int]],
    steering: TokenSteering,
    max_length: int,
    prefixes: UnsteeredPrefixes,
) -> Request:
    """A request of lm-eval (texts, prompt, continuation), tokenised; errors quote its texts.

    Raises:
        CellError: As `token_request`.
    """
    key, context, continuation = request
    try:
        return token_request(Tokens(context, continuation), steering, max_length, prefixes)
    except CellError as error:
        if key is None:
            raise
        prompt, text = (str(part) for part in key)
        end = f"...{prompt[-60:]}" if len(prompt) > 60 else prompt
        raise CellError(
            f"{error.problem} (prompt {end!r}, continuation {text[:60]!r})", error.remedy
        ) from None


def check_finite(
    log_likelihoods: Sequence[float],
    requests: Sequence[Request],
    interventions: Sequence[Intervention],
) -> None:
    """Check the log-likelihoods of requests.

    Raises:
        CellError: Some are not finite; the message names what acted on the first of them.
    """
    bad = [i for i, value in enumerate(log_likelihoods) if not math.isfinite(value)]
    if bad:
        index = requests[bad[0]].intervention
        label = interventions[index].label if index >= 0 else "no steering"
        raise CellError(
            f"{len(bad)} of {len(log_likelihoods)} log-likelihoods under {label} are not finite",
            "Lower the strength, or run the model in float32.",
        )
