"""Tokenised requests of lm-eval in the form that backends score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steereval.common.errors import CellError
from steereval.harness.engine.arms import TokenSteering
from steereval.harness.engine.unsteered_prefix import UnsteeredPrefixes
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.intervention import Intervention

FIRST_TOKEN = "Check the task's prompt; add_bos_token=True gives each prompt a first token."


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
            FIRST_TOKEN,
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


class Unanswerable(CellError):
    """Requests that cannot be given to the model, whatever acts on it."""

    def __init__(self, reasons: Mapping[int, str], remedy: str = "") -> None:
        """Keep the requests.

        Args:
            reasons: {place among the requests of the call: problem}.
            remedy: The remedy for the first.
        """
        first, *others = list(reasons.values())
        more = f"; so it is for {len(others)} other requests" if others else ""
        super().__init__(f"{first}{more}", remedy)
        self.reasons = dict(reasons)


TextRequest = tuple[Any, list[int], list[int]]
"""A request of lm-eval: (prompt and continuation as texts, or None), and the tokens of both."""


def token_requests(
    requests: Sequence[TextRequest],
    steerings: Sequence[Sequence[TokenSteering]],
    max_length: int,
    prefixes: UnsteeredPrefixes,
) -> list[Request]:
    """Requests of lm-eval under all their steerings, one request's side by side.

    Args:
        requests: The requests.
        steerings: What acts on each, one for each treatment.
        max_length: Tokens in the model's context window.
        prefixes: Leading tokens of prompts that are never steered.

    Raises:
        Unanswerable: As `token_request`, for all requests that it refuses.
    """
    made: list[Request] = []
    refused: dict[int, CellError] = {}
    for place, ((key, context, continuation), row) in enumerate(
        zip(requests, steerings, strict=True)
    ):
        tokens = Tokens(context, continuation)
        try:
            made += [token_request(tokens, each, max_length, prefixes) for each in row]
        except CellError as error:
            refused[place] = _with_texts(error, key)
    if refused:
        reasons = {place: error.problem for place, error in refused.items()}
        raise Unanswerable(reasons, next(iter(refused.values())).remedy)
    return made


def check_prompts(prompts: Sequence[str], encode: Callable[[str], Sequence[int]]) -> None:
    """Check that a text can be generated after each prompt.

    Raises:
        Unanswerable: Prompts have no tokens.
    """
    is_empty = {text: not encode(text) for text in set(prompts) if not text.strip()}
    reasons = {
        place: f"a prompt has no tokens (prompt {text!r}), so that nothing can be generated"
        for place, text in enumerate(prompts)
        if is_empty.get(text)
    }
    if reasons:
        raise Unanswerable(reasons, FIRST_TOKEN)


def _with_texts(error: CellError, key: Any) -> CellError:
    """The error with the texts of its request, where they are known."""
    if key is None:
        return error
    prompt, text = (str(part) for part in key)
    end = f"...{prompt[-60:]}" if len(prompt) > 60 else prompt
    return CellError(f"{error.problem} (prompt {end!r}, continuation {text[:60]!r})", error.remedy)


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
