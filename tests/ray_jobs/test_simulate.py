"""Large grids played through: near the bound, few loads, failures and wrong costs survived."""

from __future__ import annotations

import random

import pytest

from steereval.ray_jobs.simulate import Chance, simulate
from steereval.ray_jobs.work import Work

SIZES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def grid(seed: int, sizes: tuple[float, ...] = (1.0,)) -> list[Work]:
    """5 000 cells in 400 groups over 12 models, which differ up to eightfold in cost."""
    chance = random.Random(seed)
    price = [300.0 * 2 ** chance.uniform(-1.5, 1.5) for _ in range(12)]
    size = [chance.choice(sizes) for _ in range(12)]
    counts = [chance.randint(9, 16) for _ in range(400)]
    while sum(counts) != 5000:
        place, step = chance.randrange(400), 1 if sum(counts) < 5000 else -1
        if 1 <= counts[place] + step <= 16:
            counts[place] += step
    return [
        Work(f"g{n}", tuple(range(count)), count * price[m] * chance.uniform(0.5, 1.5),
             f"m{m}", load=60.0 * size[m] ** 0.5, size=size[m])
        for n, count in enumerate(counts) for m in [chance.randrange(12)]
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(1.0,), SIZES], ids=["one GPU each", "a quarter to eight"])
def test_a_thousand_gpus(seed: int, sizes: tuple[float, ...]) -> None:
    """Two of a hundred tries fail; the bound knows of no failure and keeps groups whole."""
    simulated = simulate(grid(seed, sizes), [8.0] * 125, Chance(failing=0.02, seed=seed))
    assert simulated.deaths > 0
    assert simulated.failed == 0
    assert simulated.makespan <= 1.1 * simulated.bound
    assert simulated.loads <= 1.2 * simulated.least_loads
    assert simulated.seconds < 5


@pytest.mark.parametrize("seed", range(3))
def test_fewer_gpus_than_groups(seed: int) -> None:
    """Where capacity is short, all of it is used."""
    simulated = simulate(grid(seed), [8.0] * 12, Chance(failing=0.02, seed=seed))
    assert simulated.makespan <= 1.15 * simulated.bound
    assert simulated.loads <= 1.2 * simulated.least_loads
    assert simulated.busy > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_one_gpu_loads_each_model_once(seed: int) -> None:
    simulated = simulate(grid(seed), [1.0])
    assert simulated.loads == 12
    assert simulated.makespan == pytest.approx(simulated.bound)


@pytest.mark.parametrize("seed", range(3))
def test_costs_that_are_wrong(seed: int) -> None:
    """By a fifth each way: the bound knows the true ones, and groups are not cut for this."""
    simulated = simulate(grid(seed), [8.0] * 12, Chance(failing=0.02, error=0.2, seed=seed))
    assert simulated.failed == 0
    assert simulated.makespan <= 1.4 * simulated.bound


def test_work_that_always_fails_is_given_up() -> None:
    simulated = simulate(grid(0)[:20], [8.0], Chance(failing=1.0))
    assert simulated.failed == sum(len(work.units) for work in grid(0)[:20])


def test_the_same_world_twice() -> None:
    chances = [Chance(failing=0.1, error=0.3, seed=3) for _ in range(2)]
    first, second = (simulate(grid(1), [8.0] * 9, chance) for chance in chances)
    assert (first.makespan, first.loads, first.deaths) == (
        second.makespan,
        second.loads,
        second.deaths,
    )
