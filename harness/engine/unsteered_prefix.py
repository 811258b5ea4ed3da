"""Leading tokens of prompts that are never steered: BOS and few-shot text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lm_eval.api.instance import Instance

from steereval.common.errors import CellError, InputError
from steereval.harness.engine.arms import Arms

OwnText = Callable[[Instance], str]
"""The part of a request's prompt that is not few-shot text."""


@dataclass(frozen=True)
class UnsteeredPrefixes:
    """How many tokens each prompt begins with that are never steered."""

    first_tokens: Collection[int | None] = ()
    """Tokens that are not steered where a prompt begins with one of them."""
    few_shot: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    """Few-shot tokens in front of each prompt's own text, by the prompt's tokens."""

    def of(self, prompt: tuple[int, ...]) -> int:
        """Number of leading tokens of `prompt`, which may be cut on the left, to leave alone."""
        bos = 1 if prompt and prompt[0] in self.first_tokens else 0
        if prompt in self.few_shot:
            return max(bos, self.few_shot[prompt])
        for whole, tokens in self.few_shot.items():
            if len(whole) > len(prompt) and whole[len(whole) - len(prompt) :] == prompt:
                return max(bos, tokens - (len(whole) - len(prompt)))
        return bos


def few_shot_tokens(
    requests: Sequence[Instance],
    arms: Arms,
    own_text: OwnText | None,
    encode: Callable[[str], list[int]],
) -> dict[tuple[int, ...], int]:
    """Few-shot tokens in front of each prompt's own text, by the prompt's tokens.

    Args:
        requests: The requests.
        arms: What acts on them; empty is returned unless it steers prompts.
        own_text: The part of a prompt that is not few-shot text; None where it is not known.
        encode: Token ids of a text.

    Raises:
        InputError: Prompts are steered, and the end of the few-shot text is not known.
        CellError: A prompt does not hold its own text.
    """
    acting = {each.positions for row in arms.steerings for each in row if each.intervention >= 0}
    reaching = [each.rule for each in acting if each.reaches_into_prompt]
    if not reaching:
        return {}
    if own_text is None:
        raise InputError(
            f"positions {reaching[0]!r} reach into the prompt, and lm-eval "
            "does not say where its few-shot text ends",
            "Use `steereval run`, or add steer_fewshot=True to steer all of the prompt.",
        )
    lengths: dict[tuple[int, ...], int] = {}
    for request in requests:
        context = request.args[0]
        start = context.rfind(own_text(request))
        if start < 0:
            raise CellError(
                f"positions {reaching[0]!r} reach into the prompt, which does not hold the "
                "task's own text, so that the end of its few-shot text is not known",
                "Leave out the chat template, use positions: generated, or add "
                "steer_fewshot=True to steer all of the prompt.",
            )
        before = context[:start]
        tokens = tuple(encode(context.rstrip()))
        lengths[tokens] = len(encode(before)) if before else 0
    return lengths
