"""What cells cost: the tokens that each group would feed its model, counted without weights.

The requests are the engine's own, so that the count is exact: lm-eval's prompts, in the model's
tokens, cut to its context window, laid out as they will run where the model can share prefixes,
which is tried out only with weights. What is generated is not known beforehand; it is taken to be
as long as it may be, and what different prompts begin with counts in each of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from steereval.common.errors import ModelError
from steereval.harness.assets import model_at_hand
from steereval.harness.config.grid import ModelSpec
from steereval.harness.engine.fit_request import fit_request
from steereval.harness.engine.fitter import Treatment, folds_of, unfitted, unsteered
from steereval.harness.engine.merged_requests import wanted
from steereval.harness.engine.replay import Replay, evaluated
from steereval.harness.engine.request_batches import Prompt
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import one_of_each_arm, one_of_each_task
from steereval.harness.planning.task_resources import TaskResources, own_text
from steereval.harness.planning.token_cost import Cost
from steereval.models.artefacts.artefact import Artefact
from steereval.models.inference.lower_blocks import lowest_block
from steereval.models.inference.pass_layout import Fed, Layout, row_tokens
from steereval.models.inference.prefix_tree import Request
from steereval.models.methods.registry import get_method
from steereval.models.steering.hook_points import find_blocks
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer
from steereval.tasks.data.hub import quick_hub


@dataclass
class Counter:
    """Counts for the groups of cells of a plan, model by model."""

    supplies: TaskResources
    """Tasks and contrast sets."""
    batch_size: int
    """Prompts that generate together."""
    _loaded: tuple[tuple[str, str], TokenCountingLM] | None = None

    def count(self, group: Sequence[Cell]) -> Cost:
        """The cost of `group`. Raises a SteerEvalError if model or data are not at hand."""
        cost = self._count(group)
        tasks = one_of_each_task(group)
        if len(tasks) == 1:
            return cost
        # Alone, a task knows nothing of what another one asks.
        own = [[cell for cell in group if cell.task == first.task] for first in tasks]
        apart = sum(map(self._count, own), Cost())
        return replace(cost, tokens_unshared=apart.tokens_unshared, flops_alone=apart.flops_alone)

    def _count(self, group: Sequence[Cell]) -> Cost:
        lm = self._model(group[0].model)
        lm.cost = Cost()
        ask(lm, group, self.supplies, (_Anything, _PerQuery))
        return lm.cost

    def _model(self, spec: ModelSpec) -> TokenCountingLM:
        key = (spec.name, spec.revision)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = (
                key,
                TokenCountingLM(model_at_hand(spec.name), spec.revision, self.batch_size),
            )
        return self._loaded[1]


Kinds = tuple[type[Steerer], type[Steerer]]
"""Steerers that stand in: one for those that act alike on all queries, one for the others."""


def ask(lm: SteeredLM, group: Sequence[Cell], supplies: TaskResources, kinds: Kinds) -> float:
    """Let `lm` answer what the tasks of `group` ask first, with `kinds` in place of what will be
    fitted; the seconds that it took."""
    task = supplies.task(group[0])
    lm.own_text = own_text(task)
    arms = one_of_each_arm(group)
    treatments = [_stand_in(cell, lm, supplies, kinds) for cell in arms]
    asked = wanted(
        one_of_each_task(group), lambda cell: evaluated(Replay({}, lm), supplies.task(cell), cell)
    )
    start = time.perf_counter()
    for kind, together in asked.items():
        lm.answer(kind, together.requests, treatments, [cell.sample_seed for cell in arms])
    return time.perf_counter() - start


def _stand_in(cell: Cell, lm: SteeredLM, supplies: TaskResources, kinds: Kinds) -> Treatment:
    """A treatment that acts where the cell's will, on the same documents and tokens."""
    if cell.method.name == "none" or cell.strength == 0:
        return unsteered()
    owned = any(kind.per_query for kind in get_method(cell.method.name).kinds)
    steerer = kinds[owned](dimension=0)
    sites = lm.fitter.sites(fit_request(cell))
    artefact = Artefact(dict.fromkeys(sites, steerer), {})
    name, positions = cell.method.name, Positions(cell.positions)
    treatment = unfitted(artefact, name, cell.strength, "absolute", positions)
    if cell.contrast is None:
        return treatment
    return replace(treatment, fold_of=folds_of(supplies.contrast(cell.contrast)))


@dataclass(frozen=True)
class _Anything(Steerer):
    """Stands where a fitted steerer will."""

    method = "any"

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Never called: nothing runs."""
        raise NotImplementedError


@dataclass(frozen=True)
class _PerQuery(_Anything):
    """Stands where one will that decides per query."""

    per_query = True


class TokenCountingLM(SteeredLM):
    """A model that counts what it is fed, and answers nothing."""

    def __init__(self, location: str, revision: str, batch_size: int) -> None:
        """Read configuration and tokenizer of a model. Raises ModelError."""
        try:
            with quick_hub():
                config = AutoConfig.from_pretrained(location, revision=revision)
                tokenizer = AutoTokenizer.from_pretrained(location, revision=revision)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"the model {location} cannot be read: {str(error).strip().splitlines()[0]}",
                "Fetch it, or give a folder with a decoder's configuration and its tokenizer.",
            ) from error
        self.cost = Cost()
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        super().__init__(model, method="none", tokenizer=tokenizer, batch_size=batch_size)
        self._device = torch.device("cpu")
        self.quiet = True
        blocks = find_blocks(model)
        self._blocks = [2 * sum(p.numel() for p in block.parameters()) for block in blocks]
        self._output = 2 * model.get_output_embeddings().weight.numel()

    def _choose_path(self) -> bool:
        return True

    def _scores(
        self,
        prepared: Sequence[Request],
        requests: Any,  # noqa: ARG002
        override_bs: int | None,  # noqa: ARG002
        done: Callable[[int], object],  # noqa: ARG002
    ) -> list[tuple[float, bool]]:
        """Count what scoring would feed, alone and together."""
        short = [request for request in prepared if self.shares(len(request.tokens))]
        long = [request for request in prepared if not self.shares(len(request.tokens))]
        alone = _tokens_of_each_text(prepared)
        whole = sum(self._blocks) + self._output
        together = self._together(short)
        plain = sum(len(request.tokens) for request in long)
        self.cost += Cost(
            alone,
            together.below + plain,
            together.above + plain,
            float(alone * whole),
            float(self._flops(together) + plain * whole),
        )
        return [(0.0, False)] * len(prepared)

    def _check_order(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
        """Nothing is written."""

    def _together(self, requests: Sequence[Request]) -> Fed:
        """Tokens of the passes that answer `requests` together."""
        size = row_tokens(self._device.type)
        fed = Layout(list(dict.fromkeys(requests)), size, self._session.decides).fed()
        return fed if self._lowest else replace(fed, below=fed.above)

    def _flops(self, fed: Fed) -> int:
        lower, upper = self._blocks[: self._lowest], self._blocks[self._lowest :]
        flops: int = fed.below * sum(lower) + fed.above * sum(upper) + fed.predicted * self._output
        return flops

    @property
    def _lowest(self) -> int:
        """How many blocks run once for all interventions at work."""
        layer = lowest_block(self._session.interventions)
        return 0 if layer is None else layer + 1

    def _model_generate(
        self,
        context: Tensor,
        max_length: int,
        stop: list[str],  # noqa: ARG002
        **kwargs: Any,
    ) -> Tensor:
        """Count what generating would feed, alone and together."""
        lengths = kwargs["attention_mask"].sum(dim=1).tolist()
        rows = zip(map(tuple, context.tolist()), lengths, strict=True)
        new = (max_length - context.shape[1]) * len(lengths)
        reaching = any(prompt.steerings[0].positions.reaches_into_prompt for prompt in self._batch)
        alone = sum(lengths) + new
        fed = (sum(lengths) if reaching else sum(dict(rows).values())) + new
        whole = sum(self._blocks) + self._output
        self.cost += Cost(alone, fed, fed, float(alone * whole), float(fed * whole), new)
        return context


def _tokens_of_each_text(requests: Sequence[Request]) -> int:
    """Tokens that lm-eval's own model is fed: each text once for each intervention."""
    texts = {(request.intervention, request.tokens) for request in requests}
    return sum(len(tokens) for _, tokens in texts)
