"""The backend that counts the tokens which requests would feed a model, without weights.

The requests are the engine's own, so that the count is exact: lm-eval's prompts, in the model's
tokens, cut to its context window, laid out as they will run where the model can share prefixes,
which is tried out only with weights. Generated texts are counted at their greatest length.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from steereval.common.errors import ModelError
from steereval.common.text import first_line
from steereval.harness.config.grid import ModelSpec
from steereval.harness.config.model_options import TOKENISATION, reading_options, tokenizer_of
from steereval.harness.engine.backend import GenerationBatch
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.token_cost import Cost
from steereval.models.inference.likelihood import Score, sharing_limit
from steereval.models.inference.lower_blocks import lowest_block
from steereval.models.inference.pass_layout import Layout, TokensFed, row_tokens
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hook_points import find_blocks
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.tasks.data.hub import quick_hub


class TokenCountingBackend:
    """Counts what a model would be fed; scores are 0 and texts empty."""

    path = "shared"
    """How log-likelihoods are counted."""

    def __init__(self, model: nn.Module, device: str) -> None:
        """Begin with nothing counted.

        Args:
            model: A model of Transformers, whose weights are not read.
            device: The kind of device that it would run on.
        """
        self.model = model
        self.cost = Cost()
        """The cost counted so far; may be replaced."""
        self._device = device
        blocks = find_blocks(model)
        self._block_flops = [2 * sum(p.numel() for p in block.parameters()) for block in blocks]
        self._output_flops: int = 2 * model.get_output_embeddings().weight.numel()  # type: ignore[operator]

    def shares(self, length: int) -> bool:
        """Whether texts of up to `length` tokens may share the tokens they begin with."""
        return length <= (sharing_limit(self.model) or math.inf)

    def steering(self, interventions: Sequence[Intervention]) -> AbstractContextManager[Session]:
        """Hook interventions into the model inside the block, where they never run."""
        return steered(self.model, interventions)

    def forget(self) -> None:
        """Keep the count: nothing else is kept."""

    def score(
        self,
        session: Session,
        requests: Sequence[Request],
        batch_size: Callable[[], int],  # noqa: ARG002
        done: Callable[[int], object],
    ) -> list[Score]:
        """Count what scoring would feed, each request alone and all together."""
        short = [request for request in requests if self.shares(len(request.tokens))]
        long = [request for request in requests if not self.shares(len(request.tokens))]
        unshared = _tokens_of_each_text(requests)
        together = self._together(short, session)
        plain = sum(len(request.tokens) for request in long)
        self.cost += Cost(
            unshared,
            together.below + plain,
            together.above + plain,
            float(unshared * self._flops_per_token),
            float(self._flops(together, session) + plain * self._flops_per_token),
        )
        done(len(requests))
        return [Score(0.0, False)] * len(requests)

    def generate(self, session: Session, batch: GenerationBatch) -> Tensor:  # noqa: ARG002
        """Count what generating would feed, each prompt alone and equal ones once."""
        prompts, width = batch.prompts, batch.prompts.width
        lengths = (width - prompts.padding).tolist()
        distinct = dict(zip(prompts.keys, lengths, strict=True))
        written = (batch.max_length - width) * len(lengths)
        reaching = any(positions.reaches_into_prompt for positions in prompts.positions)
        unshared = sum(lengths) + written
        fed = (sum(lengths) if reaching else sum(distinct.values())) + written
        flops = self._flops_per_token
        self.cost += Cost(unshared, fed, fed, float(unshared * flops), float(fed * flops), written)
        return batch.ids

    @property
    def _flops_per_token(self) -> int:
        return sum(self._block_flops) + self._output_flops

    def _together(self, requests: Sequence[Request], session: Session) -> TokensFed:
        """Tokens of the passes that answer `requests` together."""
        layout = Layout(list(dict.fromkeys(requests)), row_tokens(self._device), session.decides)
        fed = layout.fed()
        return fed if _blocks_below(session) else replace(fed, below=fed.above)

    def _flops(self, fed: TokensFed, session: Session) -> int:
        count = _blocks_below(session)
        below, above = sum(self._block_flops[:count]), sum(self._block_flops[count:])
        return fed.below * below + fed.above * above + fed.predicted * self._output_flops


def _blocks_below(session: Session) -> int:
    """How many blocks run once for all interventions at work."""
    layer = lowest_block(session.interventions)
    return 0 if layer is None else layer + 1


def _tokens_of_each_text(requests: Sequence[Request]) -> int:
    """Tokens that lm-eval's own model is fed: each text once for each intervention."""
    texts = {(request.intervention, request.tokens) for request in requests}
    return sum(len(tokens) for _, tokens in texts)


class TokenCountingLM(SteeredLM):
    """A steered language model that counts instead of answering."""

    steering_backend: TokenCountingBackend

    def __init__(self, spec: ModelSpec, location: str, batch_size: int) -> None:
        """Read configuration and tokenizer of a model.

        Args:
            spec: The model.
            location: Name or folder of the model.
            batch_size: Prompts that generate together.

        Raises:
            ModelError: They cannot be read.
        """
        try:
            with quick_hub():
                reading, (name, options) = reading_options(spec), tokenizer_of(spec, location)
                config = AutoConfig.from_pretrained(location, revision=spec.revision, **reading)
                tokenizer = AutoTokenizer.from_pretrained(name, **options)
            trusted = {"trust_remote_code": True} if reading.get("trust_remote_code") else {}
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, **trusted)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"the model {location} cannot be read: {first_line(error)}",
                "Fetch it, or give a folder with a decoder's configuration and its tokenizer.",
            ) from error
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        tokenisation = {name: v for name, v in spec.model_args.items() if name in TOKENISATION}
        super().__init__(
            model, method="none", tokenizer=tokenizer, batch_size=batch_size, **tokenisation
        )
        self._device = torch.device("cpu")
        self.quiet = True

    def new_backend(self) -> TokenCountingBackend:
        """The backend that counts."""
        return TokenCountingBackend(self.model, "cpu")
