"""Effects of fitted steerers on held-out activations: questions 2, 3, 5, 6, 7 and 8."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from steereval.harness.diagnose.material import Material
from steereval.harness.diagnose.rows import Rows, Setting
from steereval.models.diagnostics.acting import Acting, own_barrier
from steereval.models.diagnostics.barrier_checks import (
    reaches,
    share_ascending,
    share_rising,
    starts_below,
    stays,
)
from steereval.models.diagnostics.integrator import (
    STEPS,
    endpoint,
    endpoint_distance,
    one_step_distance,
    reference,
    solvers_of,
)
from steereval.models.diagnostics.manifold import norm_ratio
from steereval.models.diagnostics.matching import mean_displacement, mover
from steereval.models.diagnostics.nonlinearity import (
    field_cosine,
    mean_difference_cosine,
    path_stretch,
    turning,
)
from steereval.models.diagnostics.paths import directions, path, velocities
from steereval.models.diagnostics.probe import score_of
from steereval.models.methods.barrier_flow import BarrierFlow
from steereval.models.methods.linear_sphere import LinearSphereFlow
from steereval.models.methods.odesteer import PolynomialFlow
from steereval.models.steering.displacement import strength_at
from steereval.models.steering.steerer import Steerer
from steereval.results.store.diagnosis import DATA

SHOWN_POINTS = 11
"""Most points of a path that are kept, its ends among them."""
DISPLACEMENTS = (0.02, 0.05, 0.1)
"""At which methods are compared, in median norms."""
DEAR_ITEMS = 20
"""Items on which integrators are compared whose every step costs thousands of operations an
entry."""

Judges = Mapping[str, BarrierFlow]
"""Barriers by whose they are."""


@dataclass(frozen=True)
class Arm:
    """A fitted steerer at one strength."""

    setting: Setting
    """Its columns in the table."""
    acting: Acting
    """The steerer on the statements."""
    strength: float
    """The strength in the method's own unit."""

    @classmethod
    def of(cls, setting: Setting, steerer: Steerer, strength: float, material: Material) -> Arm:
        """`steerer` on the statements of `material`, with a strength in its own unit."""
        return cls(setting, Acting.on(steerer, material.queries, material.clusters), strength)

    def displacement(self, material: Material) -> Tensor:
        """y - x [n, d]."""
        return self.acting(material.x, self.strength) - material.x


def measure_arm(rows: Rows, arm: Arm, material: Material, judges: Judges) -> None:
    """All quantities of a steerer at its strength, except those of integrators."""
    its_barrier = own_barrier(arm.acting.steerer)
    points = path(arm.acting, material.x, arm.strength)
    moved = (points[-1] != points[0]).any(dim=-1)
    everyone = {**judges, "own": its_barrier} if its_barrier is not None else judges
    for judge, barrier in everyone.items():
        _barrier(rows, arm, points, moved, judge, barrier)
    _closeness(rows, arm, points, material)
    _nonlinearity(rows, arm, points, moved, material)
    _positions(rows, arm, material)


def _barrier(
    rows: Rows, arm: Arm, points: Tensor, moved: Tensor, judge: str, barrier: BarrierFlow
) -> None:
    values = barrier.barrier(points)
    rising = share_rising(values)
    ascending = share_ascending(barrier.gradient(points[:-1]), velocities(arm.acting, points))
    # A point that does not move takes no steps.
    rows.add("rises", arm.setting, rising, moved, judge=judge)
    rows.add("ascends", arm.setting, ascending, moved, judge=judge)
    reached = reaches(values)
    rows.add("starts_below", arm.setting, starts_below(values), judge=judge)
    rows.add("reaches", arm.setting, reached, judge=judge)
    rows.add("stays", arm.setting, stays(values), reached, judge=judge)
    for step in shown(len(points)):
        rows.add("log_ratio", arm.setting, values[step], judge=judge, step=step)


def shown(points: int) -> list[int]:
    """Which of a path's points are kept: all, or evenly spread ones with both ends."""
    count = min(points, SHOWN_POINTS)
    return [round(index * (points - 1) / (count - 1)) for index in range(count)]


def _closeness(rows: Rows, arm: Arm, points: Tensor, material: Material) -> None:
    for step in shown(len(points)):
        y = points[step]
        rows.add("mahalanobis", arm.setting, material.natural.mahalanobis(y), step=step)
        rows.add("nearest", arm.setting, material.natural.nearest(y), step=step)
        rows.add("norm_ratio", arm.setting, norm_ratio(material.x, y), step=step)


def _nonlinearity(
    rows: Rows, arm: Arm, points: Tensor, moved: Tensor, material: Material
) -> None:  # fmt: skip
    along = directions(arm.acting, material.x, arm.strength)
    led = along.norm(dim=-1) > 0.5
    if int(led.sum()) > 1:
        cosine = torch.zeros(len(along), dtype=along.dtype)
        cosine[led] = field_cosine(along[led])
        rows.add("field_cosine", arm.setting, cosine, led)
    to_means = mean_difference_cosine(along, material.positive, material.negative)
    rows.add("mean_difference_cosine", arm.setting, to_means, led)
    rows.add("path_stretch", arm.setting, path_stretch(points), moved)
    lengths = (points[1:] - points[:-1]).norm(dim=-1)
    rows.add("turning", arm.setting, turning(points), (lengths[0] > 0) & (lengths[-1] > 0))


def _positions(rows: Rows, arm: Arm, material: Material) -> None:
    score = score_of(arm.acting, material.x, arm.strength)
    if score is None:
        return
    for position in material.positions:
        values = torch.zeros(len(material.x), dtype=torch.float64)
        values[position.rows] = score(position.states)
        there = torch.zeros(len(values), dtype=torch.bool)
        there[position.rows] = True
        rows.add("probe_score", arm.setting, values, there, position=position.name)


def measure_integrators(rows: Rows, arm: Arm, material: Material) -> None:
    """Solvers and numbers of steps against a reference solution, for flows."""
    flow = arm.acting.steerer
    if not isinstance(flow, BarrierFlow):
        return
    among = torch.ones(len(material.x), dtype=torch.bool)
    if not _is_cheap(flow):
        among[DEAR_ITEMS:] = False
    x = material.x[among]

    def add(quantity: str, values: Tensor, solver: str, steps: int) -> None:
        whole = torch.zeros(len(among), dtype=torch.float64)
        whole[among] = values
        rows.add(quantity, arm.setting, whole, among, solver=solver, steps=steps)

    exact = reference(flow, x, arm.strength)
    for solver, steps in itertools.product(solvers_of(flow, x), STEPS):
        end = endpoint(flow, x, arm.strength, solver, steps)
        add("endpoint_distance", endpoint_distance(x, end, exact), solver, steps)
    for steps in STEPS[1:]:
        distance = one_step_distance(flow, x, arm.strength, steps)
        add("one_step_distance", distance, "euler", steps)


def _is_cheap(flow: BarrierFlow) -> bool:
    """Whether a step costs a few operations an entry."""
    exact = isinstance(flow, PolynomialFlow) and flow.quadratic is not None
    return exact or isinstance(flow, LinearSphereFlow)


def measure_matched(
    rows: Rows, arm: Arm, material: Material, judge: BarrierFlow
) -> Iterator[float]:
    """Add gains of the barrier at equal displacements; yields the displacements out of reach."""
    x, move = material.x, mover(arm.acting)
    before = judge.barrier(x)
    for part in DISPLACEMENTS:
        target = part * material.median_norm
        strength = strength_at(lambda s: mean_displacement(x, move(x, s)), target)
        if strength is None:
            yield part
            continue
        gain = judge.barrier(move(x, strength)) - before
        setting = Setting(arm.setting.method, part, arm.setting.fit_seed)
        rows.add("gain_at_displacement", setting, gain, judge="crossfit")


def measure_agreement(rows: Rows, alike: Sequence[tuple[Setting, Tensor]]) -> None:
    """The mean cosine of each fit's displacements [n, d] with those of the other fit seeds."""
    if len(alike) < 2:
        return
    moved = torch.stack([displacement for _, displacement in alike])
    everywhere = (moved.norm(dim=-1) > 0).all(dim=0)
    for index, (setting, displacement) in enumerate(alike):
        others = torch.cat([moved[:index], moved[index + 1 :]])
        cosine = cosine_similarity(displacement[None], others, dim=-1).mean(dim=0)
        rows.add("subset_agreement", setting, cosine, everywhere)


def measure_data(rows: Rows, material: Material, seed: int | None, judges: Judges) -> None:
    """h of the positive statements themselves, which nothing has steered."""
    setting = Setting(DATA, 0.0, seed)
    for judge, barrier in judges.items():
        values = barrier.barrier(material.x)
        rows.add("log_ratio", setting, values, material.labels, judge=judge, step=0)


def measure_natural(rows: Rows, material: Material) -> None:
    """How far the positive statements themselves are from other positive ones."""
    setting, natural = Setting(DATA, 0.0, None), material.natural
    for quantity, values in (
        ("mahalanobis", natural.mahalanobis(material.x)),
        ("nearest", natural.nearest(material.x)),
    ):
        rows.add(quantity, setting, values, material.labels, step=0)
