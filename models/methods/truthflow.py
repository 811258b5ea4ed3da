"""TruthFlow: a correction vector for every query, by a flow-matching network.

Wang et al. 2025, "TruthFlow: Truthful LLM Generation via Representation Flow Correction"
(arXiv 2502.04556). A rectified flow leads from the state of the query's last token to the
difference of the mean states of its correct and incorrect answers; the result is projected on the
main directions of the training differences and added, times 1.5 T, to the tokens of that query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steereval.common.errors import FitError
from steereval.common.limits import Positive
from steereval.models.fitting.contrast_data import SiteData
from steereval.models.fitting.logistic import fit_device
from steereval.models.fitting.network import Weights, frozen, linear_layers
from steereval.models.fitting.training import TrainingOptions, drawing_from, split_rows, train
from steereval.models.methods.method import SiteMethod
from steereval.models.steering.steerer import Steerer, median_norm

TIME_WIDTH = 128
"""Width of the embedding of time."""
STRENGTH = 1.5
"""Factor of the vector at the published strength of one."""


@dataclass(frozen=True)
class TruthFlowOptions(TrainingOptions):
    """Training of the flow, and how its vectors are made."""

    epochs: Positive[int] = 40
    """Most passes over the training part."""
    learning_rate: Positive[float] = 1e-4
    """Rate of AdamW."""
    batch_size: Positive[int] = 32
    """Queries in a step."""
    components: Positive[int] = 20
    """Right singular vectors of the training differences that are kept; all if there are fewer."""
    steps: Positive[int] = 10
    """Euler steps of the flow."""


@dataclass(frozen=True)
class QueryFlow(Steerer):
    """x + 1.5 T v, v decided by the state of the query's last token."""

    method: ClassVar[str] = "query_flow"
    per_query: ClassVar[bool] = True

    network: Weights
    """The velocity network."""
    directions: Tensor
    """Orthonormal directions [k, d] on which vectors are projected."""
    scale: float
    """States are divided by this before the network, and vectors multiplied by it."""
    steps: int
    """Euler steps of the flow."""
    training: dict[str, Any]
    """Curves of the training."""

    def begin(self, prompt_states: Tensor, row_keys: Sequence[str]) -> Tensor:
        """The vector [q, d] of each query with prompt states [q, d], in float32."""
        return self.correction(prompt_states.float())

    def correction(self, queries: Tensor) -> Tensor:
        """Projected end [q, d] of the flow that starts at the queries' states [q, d]."""
        place = queries / self.scale
        for step in range(self.steps):
            time = place.new_full((len(place),), step / self.steps)
            place = place + velocity(self.network, place, time) / self.steps
        directions = self.directions.to(place.dtype)
        return self.scale * (place @ directions.T) @ directions

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        """Add the vector of each token's query."""
        assert state is not None
        return x + STRENGTH * strength * state.to(x.dtype)


def velocity(weights: Sequence[Tensor], x: Tensor, time: Tensor) -> Tensor:
    """v(x, t) [q, d] for x [q, d] and t [q]: a U-shaped network of depth 4.

    Two layers narrow, two widen; every layer also sees the embedding of time, and the widening
    ones what the narrowing ones made at the same width.
    """
    moment = embed_time(time)
    first, second, third, fourth = (
        (weights[i].to(x.dtype), weights[i + 1].to(x.dtype)) for i in (0, 2, 4, 6)
    )
    wide = F.silu(F.linear(torch.cat([x, moment], dim=-1), *first))
    narrow = F.silu(F.linear(torch.cat([wide, moment], dim=-1), *second))
    back = F.silu(F.linear(torch.cat([narrow, moment], dim=-1), *third)) + wide
    end: Tensor = F.linear(torch.cat([back, moment, x], dim=-1), *fourth)
    return end


def embed_time(time: Tensor) -> Tensor:
    """Sines and cosines [q, 128] of time [q] in [0, 1] at geometric frequencies."""
    rates = torch.logspace(0, 3, TIME_WIDTH // 2, dtype=time.dtype, device=time.device)
    angles = time[:, None] * rates
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


class TruthFlow(SiteMethod):
    """A rectified flow from queries to corrections."""

    name = "truthflow"
    summary = "TruthFlow: a correction vector for every query, by a flow-matching network"
    seeded = True
    budget = ("epochs",)
    kinds = (QueryFlow,)
    Options = TruthFlowOptions

    def needs(self, options: Any) -> frozenset[str]:
        """Queries, and the mean states of their answers."""
        parts = {"queries", "positive_query", "negative_query", "positive_means", "negative_means"}
        return frozenset(parts)

    def fit_site(self, data: SiteData, options: Any, seed: int) -> Steerer:
        """Loss |v(x_t, t) - (x1 - x0)|^2 along the straight lines x_t from x0 to x1."""
        norm = median_norm(data.positive, data.negative)
        queries, corrections = targets(data)
        device, width = fit_device(), queries.shape[1]
        scale = (norm or 1.0) / width**0.5
        start, end = (queries / scale).float().to(device), (corrections / scale).float().to(device)
        half, quarter = max(1, width // 2), max(1, width // 4)
        with drawing_from(seed) as generator:
            layers = nn.ModuleList([
                *linear_layers([width + TIME_WIDTH, half]),
                *linear_layers([half + TIME_WIDTH, quarter]),
                *linear_layers([quarter + TIME_WIDTH, half]),
                *linear_layers([half + TIME_WIDTH + width, width]),
            ]).to(device)  # fmt: skip
            times = torch.rand(len(start), generator=generator).to(device)

            def loss(rows: Tensor) -> Tensor:
                if layers.training:
                    time = torch.rand(len(rows), generator=generator).to(device)
                else:
                    time = times[rows]
                return _flow_loss(layers, start[rows], end[rows], time)

            parts = split_rows(len(start), options.held_out, generator)
            curves = train(self.name, layers, parts, loss, options, generator, weight_decay=0.01)
        return QueryFlow(
            network=frozen(layers),
            directions=main_directions(corrections, options.components),
            scale=scale,
            steps=options.steps,
            training=curves,
            dimension=width,
            median_norm=norm,
        )


def _flow_loss(layers: nn.ModuleList, start: Tensor, end: Tensor, time: Tensor) -> Tensor:
    weights = [part for layer in layers for part in (layer.weight, layer.bias)]
    between = start + time[:, None] * (end - start)
    predicted = velocity(weights, between, time)  # type: ignore[arg-type]
    return F.mse_loss(predicted, end - start)


def targets(data: SiteData) -> tuple[Tensor, Tensor]:
    """State of each query that has answers of both classes, and its correction, [q, d] each."""
    assert data.queries is not None
    assert data.positive_query is not None
    assert data.negative_query is not None
    assert data.positive_means is not None
    assert data.negative_means is not None
    count = len(data.queries)
    positive, some = _mean_by(data.positive_means.double(), data.positive_query, count)
    negative, others = _mean_by(data.negative_means.double(), data.negative_query, count)
    both = some & others
    if not bool(both.any()):
        raise FitError(
            "no query has answers of both classes, so truthflow has nothing to learn from",
            "Use a contrast set with correct and incorrect answers to the same questions.",
        )
    return data.queries.double()[both], (positive - negative)[both]


def _mean_by(rows: Tensor, group: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each group [count, d], and which groups have any [count]."""
    sums = torch.zeros(count, rows.shape[1], dtype=rows.dtype).index_add_(0, group, rows)
    sizes = torch.bincount(group, minlength=count)
    return sums / sizes.clamp_min(1)[:, None], sizes > 0


def main_directions(corrections: Tensor, components: int) -> Tensor:
    """The first right singular vectors [k, d] of the corrections [q, d]."""
    _, values, right = torch.linalg.svd(corrections, full_matrices=False)
    directions: Tensor = right[:components][values[:components] > 1e-9 * values[0]]
    return directions.float().contiguous()
