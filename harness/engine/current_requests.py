"""The requests that lm-eval works on now, and what acts on those that it passes to the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steereval.common.errors import CellError
from steereval.harness.engine.arms import TokenSteering
from steereval.harness.engine.unsteered_prefix import UnsteeredPrefixes
from steereval.harness.engine.waiting_prompts import Prompt, WaitingPrompts
from steereval.models.steering.hooks import Session


@dataclass
class CurrentRequests:
    """Requests of one call of `SteeredLM.answer`; without arguments, none."""

    session: Session = field(default_factory=lambda: Session([]))
    """The interventions inside the model."""
    prefixes: UnsteeredPrefixes = field(default_factory=UnsteeredPrefixes)
    """Tokens of their prompts that are never steered."""
    batch: list[Prompt] = field(default_factory=list)
    """Prompts of the batch that lm-eval generates from."""
    _waiting: WaitingPrompts | None = None
    _windows: TokenSteering | None = None
    _texts: list[tuple[Prompt, str]] = field(default_factory=list)

    @contextmanager
    def expecting(self, prompts: Sequence[Prompt]) -> Iterator[None]:
        """Let `prompts` wait until lm-eval passes their texts on, which it must do inside.

        Raises:
            CellError: lm-eval left out some of them.
        """
        self._waiting, self._texts = WaitingPrompts(prompts), []
        try:
            yield
            self._waiting.check_empty()
        finally:
            self._waiting, self.batch = None, []

    @property
    def waits(self) -> bool:
        """Whether prompts wait until lm-eval passes them on."""
        return self._waiting is not None

    @contextmanager
    def windows_under(self, steering: TokenSteering) -> Iterator[None]:
        """Let `steering` act on windows of rolling texts, which have no prompt of their own."""
        self._windows = steering
        try:
            yield
        finally:
            self._windows = None

    def steerings(self, keys: Sequence[Any]) -> list[tuple[TokenSteering, ...]] | None:
        """Steering of tokenised requests.

        Args:
            keys: lm-eval's (prompt, continuation) of each, or None for windows of rolling texts.

        Returns:
            What acts on each under every treatment; None if nothing was to be asked now.
        """
        if self._waiting is not None:
            return [prompt.steerings for prompt in self._waiting.take(keys)]
        return None if self._windows is None else [(self._windows,)] * len(keys)

    def begin_batch(self, texts: Sequence[str]) -> None:
        """Note which prompts are generated from next."""
        self.batch = self._waiting.take(texts) if self._waiting is not None else []

    def check_batch(self, rows: int) -> None:
        """Check that the prompts of a batch are known.

        Raises:
            CellError: lm-eval did not say which `rows` prompts these are.
        """
        if len(self.batch) != rows:
            raise CellError(
                f"lm-eval generates from {rows} prompts where it named {len(self.batch)}",
                "It works in an order of its own; steereval works with lm-eval 0.4.13.",
            )

    def note_texts(self, texts: Sequence[str]) -> None:
        """Note what the model wrote for the prompts of the batch."""
        self._texts += zip(self.batch, texts, strict=True)

    def check_order(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
        """Check that lm-eval gives each text to the prompt that it was generated for.

        Raises:
            CellError: A text is not part of what the model wrote for its prompt.
        """
        written = {id(prompt): text for prompt, text in self._texts}
        for prompt, text in zip(prompts, texts, strict=True):
            if text.strip() not in written[id(prompt)]:
                raise CellError(
                    f"lm-eval returns a text for a prompt that it was not generated for: {text!r}",
                    "It changed the order of the requests; steereval works with lm-eval 0.4.13.",
                )
