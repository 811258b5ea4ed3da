"""Cost of steering: question 1 of a diagnosis.

A few texts are decoded one after the other, by the model alone and under each steerer in turn;
every repetition does all of them once, in another order, so that what slows the machine down hits
all alike. The first token of a text comes with its prompt; its time counts too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from steereval.harness.diagnose.rows import Rows, Setting
from steereval.models.diagnostics.cost import model_flops, steerer_flops, tensor_bytes
from steereval.models.diagnostics.integrator import STEPS
from steereval.models.inference.generation import Prompts, generating
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer
from steereval.results.store.diagnosis import UNSTEERED

REPETITIONS = 6
"""Times that every steerer decodes a text."""
NEW_TOKENS = 16
"""Tokens of each text."""


@dataclass(frozen=True)
class Timed:
    """A timed setting: a method at work, or the model alone."""

    setting: Setting
    """Its columns in the table."""
    steerers: Mapping[Site, Steerer]
    """Steerers by site; empty for the unsteered model."""
    strengths: Mapping[Site, float]
    """How strongly, in the methods' own units."""
    positions: str = "generated"
    """Which tokens it steers."""
    steps: int | None = None
    """Steps of a variant of a flow; None for the method as it is."""

    @property
    def intervention(self) -> Intervention:
        """As the hooks take it."""
        return Intervention(
            self.steerers, self.setting.strength, label=self.setting.method, matched=self.strengths
        )


def with_other_steps(timed: Timed) -> list[Timed]:
    """A method whose steerers are polynomial flows with other numbers of steps; none of others."""
    flows = {at: s for at, s in timed.steerers.items() if isinstance(s, PolynomialFlow)}
    if len(flows) < len(timed.steerers):
        return []
    return [
        replace(timed, steerers={at: replace(flow, steps=k) for at, flow in flows.items()}, steps=k)
        for k in STEPS
    ]


def measure_cost(
    rows: Rows, model: nn.Module, prompts: Sequence[Sequence[int]], timed: Sequence[Timed]
) -> None:
    """Speed, operations and memory of the model alone and of each of `timed`."""
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    alone = Timed(Setting(UNSTEERED, 0.0, None), {}, {})
    rows.add_named("flops_per_token", alone.setting, {"token": model_flops(model)})
    for each in timed:
        placed = {site: steerer.to(device) for site, steerer in each.steerers.items()}
        flops = sum(steerer_flops(s, each.strengths[site]) for site, s in placed.items())
        size = sum(map(tensor_bytes, placed.values()))
        rows.add_named("flops_per_token", each.setting, {"token": flops}, steps=each.steps)
        rows.add_named("steerer_bytes", each.setting, {"tensors": size}, steps=each.steps)
    texts = [torch.tensor([prompt], device=device) for prompt in prompts]
    everyone = [alone, *timed]
    speeds: dict[int, dict[str, float]] = {index: {} for index in range(len(everyone))}
    for index in range(len(everyone)):
        _decode(model, texts[0], everyone[index])
    for repetition in range(REPETITIONS):
        first = repetition * len(everyone) // REPETITIONS
        for index in (*range(first, len(everyone)), *range(first)):
            seconds = _decode(model, texts[repetition % len(texts)], everyone[index])
            speeds[index][f"repetition {repetition + 1}"] = NEW_TOKENS / seconds
    for index, each in enumerate(everyone):
        rows.add_named("tokens_per_second", each.setting, speeds[index], steps=each.steps)


def _decode(model: nn.Module, ids: Tensor, timed: Timed) -> float:
    """Seconds that the model takes to write NEW_TOKENS tokens after the prompt [1, length]."""
    options: dict[str, Any] = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": NEW_TOKENS,
        "min_new_tokens": NEW_TOKENS,
        "do_sample": False,
        "pad_token_id": 0,
    }
    prompts = Prompts(
        torch.zeros(1, dtype=torch.long), ids.shape[1], [0],
        [0 if timed.steerers else -1], [Positions(timed.positions)], ["prompt"],
    )  # fmt: skip
    with torch.inference_mode(), steered(model, [timed.intervention]) as session:
        start = time.perf_counter()
        if timed.steerers:
            with generating(model, session, prompts):
                tokens = model.generate(ids, **options)  # type: ignore[operator]
        else:
            tokens = model.generate(ids, **options)  # type: ignore[operator]
        tokens.tolist()  # waits for the device
        return time.perf_counter() - start
