"""Interface between the steered language model and the engine that runs it.

lm-eval tokenises and batches requests, and `SteeredLM` decides what acts on each. A backend gets
token ids and interventions, and returns scores and texts: `HuggingFaceBackend` computes them,
`TokenCountingBackend` counts what computing them would feed the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from steereval.models.inference.generation import Prompts
from steereval.models.inference.likelihood import Score
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hooks import Session
from steereval.models.steering.intervention import Intervention


@dataclass(frozen=True)
class GenerationBatch:
    """Left-padded prompts that are generated from together."""

    ids: Tensor
    """Token ids, int64 [rows, width]."""
    mask: Tensor
    """1 for tokens, 0 for padding; int64 [rows, width]."""
    prompts: Prompts
    """Which tokens of each row are steered, and under which intervention."""
    noise_keys: Sequence[str]
    """Names the random draws of each row, so that they depend on seed and request alone."""
    max_length: int
    """Most columns of the result, prompts included."""
    stop: list[str]
    """Texts after which a row ends."""
    options: Mapping[str, Any]
    """Other options of lm-eval's generation."""
    pad_token: int
    """Id that fills rows which end early."""

    def rows(self, chosen: slice) -> GenerationBatch:
        """Some of the rows, padded as before."""
        prompts = replace(
            self.prompts,
            padding=self.prompts.padding[chosen],
            unsteered_prefix=self.prompts.unsteered_prefix[chosen],
            interventions=self.prompts.interventions[chosen],
            positions=self.prompts.positions[chosen],
            keys=self.prompts.keys[chosen],
        )
        return replace(
            self,
            ids=self.ids[chosen],
            mask=self.mask[chosen],
            prompts=prompts,
            noise_keys=self.noise_keys[chosen],
        )


class Backend(Protocol):
    """Runs a model under interventions."""

    @property
    def path(self) -> str:
        """How log-likelihoods are computed: `shared` or `plain`."""
        ...

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share the tokens they begin with."""
        ...

    def steering(self, interventions: Sequence[Intervention]) -> AbstractContextManager[Session]:
        """Put interventions into the model inside the block.

        Args:
            interventions: Those that requests name by their index.

        Returns:
            A context manager; its session is passed to `score` and `generate`.

        Raises:
            ModelError: The model lacks one of their sites.
        """
        ...

    def score(
        self,
        session: Session,
        requests: Sequence[Request],
        batch_size: Callable[[], int],
        done: Callable[[int], object],
    ) -> list[Score]:
        """Score continuations.

        Args:
            session: The session that `steering` returned.
            requests: Token ids, and what acts on them.
            batch_size: Rows of a batch on the plain path; called only where that is taken.
            done: Called with the number of requests that were just finished.

        Returns:
            One score a request, in their order.
        """
        ...

    def generate(self, session: Session, batch: GenerationBatch) -> Tensor:
        """Continue prompts.

        Args:
            session: The session that `steering` returned.
            batch: The prompts and how they are continued.

        Returns:
            The prompts with what follows them, int64 [rows, width + written tokens].
        """
        ...

    def forget(self) -> None:
        """Drop what is kept of earlier requests."""
        ...
