"""Prompts on their way through lm-eval, which tokenises, sorts and batches them.

What acts on a request does not travel with its text, which lm-eval may copy, but waits in
`WaitingPrompts` until the text comes back.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from steereval.common.errors import CellError
from steereval.common.text import short_hash
from steereval.harness.engine.arms import TokenSteering


@dataclass(frozen=True)
class Prompt:
    """A request on its way through lm-eval."""

    key: Any
    """Key from lm-eval: the text of a prompt to generate from, or (prompt, continuation)."""
    steerings: tuple[TokenSteering, ...]
    """Steering under each treatment that needs its answer."""
    noise_key: str = ""
    """Names seed and request: the random draws depend on this and on no other request."""


class WaitingPrompts:
    """Prompts that were handed to lm-eval, until it hands their texts on to the model.

    Requests with the same text wait in a line: lm-eval keeps their order, since its sort is
    stable.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        """Let `prompts` wait, in the order in which lm-eval is given them."""
        self._lines: dict[Any, deque[Prompt]] = {}
        for prompt in prompts:
            self._lines.setdefault(prompt.key, deque()).append(prompt)

    def take(self, keys: Iterable[Any]) -> list[Prompt]:
        """The prompts of texts that lm-eval hands on.

        Raises:
            CellError: A text is not the text of a waiting prompt, so that what acts on it is not
                known.
        """
        prompts = []
        for key in keys:
            line = self._lines.get(key)
            if not line:
                raise CellError(
                    f"lm-eval requests a text that no request holds: {_shortened(key)}",
                    "It changed the text on the way; steereval works with lm-eval 0.4.13.",
                )
            prompts.append(line.popleft())
        return prompts

    def check_empty(self) -> None:
        """Check that lm-eval handed on every prompt.

        Raises:
            CellError: Some are still waiting.
        """
        left = [key for key, line in self._lines.items() for _ in line]
        if left:
            raise CellError(
                f"lm-eval left out {len(left)} requests, the first being {_shortened(left[0])}",
                "It changed the requests on the way; steereval works with lm-eval 0.4.13.",
            )


def item_keys(requests: Sequence[Instance]) -> list[str]:
    """A name for each request, from its document, its number there, and how often it came."""
    seen: Counter[str] = Counter()
    keys = []
    for request in requests:
        document = json.dumps(request.doc, sort_keys=True, default=str)
        key = short_hash(f"{request.idx} {document}")
        keys.append(f"{key} {seen[key]}")
        seen[key] += 1
    return keys


def _shortened(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 80 else f"{text[:77]}..."
