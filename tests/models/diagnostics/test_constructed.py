"""Constructed cases: what each diagnosis must show, and where it must show nothing."""

from __future__ import annotations

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from steereval.models import fit_steerer
from steereval.models.diagnostics.acting import Acting
from steereval.models.diagnostics.matching import mean_displacement
from steereval.models.diagnostics.probe import score_of
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.steering.displacement import strength_at
from steereval.models.steering.steerer import Steerer

WIDTH = 12


def noise(seed: int, count: int, scale: float) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, WIDTH, generator=draw)


def shifted(seed: int, axis: int) -> tuple[Tensor, Tensor]:
    """Two classes that differ along one axis, off the origin."""
    positive, negative = noise(seed, 200, 0.5), noise(seed + 1, 200, 0.5)
    positive[:, axis] += 1
    negative[:, axis] -= 1
    for rows in (positive, negative):
        rows[:, -1] += 4
    return positive, negative


def on_two_axes(seed: int) -> tuple[Tensor, Tensor]:
    """Positive ones at both ends of one axis, negative ones at both ends of another; all that
    their means differ in is a little shift along a third."""
    positive, negative = noise(seed, 100, 0.3), noise(seed + 1, 100, 0.3)
    positive[:, 0] += 2
    negative[:, 1] += 2
    positive, negative = (torch.cat([rows, -rows]) for rows in (positive, negative))
    positive[:, 2] += 0.05
    return positive, negative


def auc(steerer: Steerer, rows: tuple[Tensor, Tensor], reference: Tensor) -> float:
    score = score_of(Acting(steerer), reference, 1.0)
    assert score is not None
    labels = [1] * len(rows[0]) + [0] * len(rows[1])
    return float(roc_auc_score(labels, score(torch.cat(rows)).numpy()))


def test_a_steerer_that_is_useless_at_another_position_shows() -> None:
    """The classes differ along one axis where it is fitted, along another mid-way."""
    last, middle = shifted(10, axis=0), shifted(20, axis=1)
    for method in ("caa", "odesteer"):
        steerer = fit_steerer(method, *shifted(0, axis=0))
        assert auc(steerer, last, last[1]) > 0.95
        assert 0.4 < auc(steerer, middle, last[1]) < 0.6


def test_what_moves_nothing_tells_nothing_apart() -> None:
    steerer = fit_steerer("caa", *shifted(0, axis=0))
    assert score_of(Acting(steerer), last := shifted(1, 0)[0], 0.0) is None
    assert score_of(Acting(steerer), last, 1.0) is not None


def gains(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """What another barrier gains by the flow [n] and by a vector [n], displaced alike."""
    judge = fit_steerer("odesteer", *held_out, seed=1000)
    assert isinstance(judge, BarrierFlow)
    x, result = x.double(), []
    for method in ("odesteer", "caa"):
        acting = Acting(fit_steerer(method, *train))

        def displacement(strength: float, acting: Acting = acting) -> float:
            return mean_displacement(x, acting(x, strength))

        strength = strength_at(displacement, 0.1 * float(x.norm(dim=1).median()))
        assert strength is not None
        result.append(judge.barrier(acting(x, strength)) - judge.barrier(x))
    return torch.stack(result)


def test_the_flow_beats_a_vector_where_the_barrier_is_quadratic() -> None:
    train, held_out, test = on_two_axes(0), on_two_axes(10), on_two_axes(20)
    flow, vector = gains(train, held_out, test[1])
    assert float(vector.mean()) > 0
    assert float(flow.mean()) > 1.5 * float(vector.mean())
    assert float((flow > 0).double().mean()) > 0.95


def test_it_cannot_where_the_barrier_is_linear() -> None:
    train, held_out, test = shifted(0, 0), shifted(10, 0), shifted(20, 0)
    flow, vector = gains(train, held_out, test[1]).mean(dim=1)
    assert float(vector) > 0
    assert float(flow) < 1.1 * float(vector)
