"""What a probe measures, and what is made of it."""

from __future__ import annotations

import dataclasses

import pytest
from dying import die
from hypothesis import given
from hypothesis import strategies as st
from small_grid import small_grid

from steereval.common.errors import ModelError
from steereval.harness.config.grid import Grid, parse_grid
from steereval.harness.estimate.cost import Counter
from steereval.harness.estimate.simulation import work_items
from steereval.harness.estimate.timing_probe import (
    CONTEXT,
    MARGIN,
    Probed,
    Rate,
    Replica,
    probe,
    suggested_gpus,
)
from steereval.harness.planning.groups import group_id, groups
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.task_resources import TaskResources

pytestmark = pytest.mark.slow

GIB = 1 << 30


@pytest.fixture(scope="module")
def grid(tiny_folder: str) -> Grid:
    methods = [
        "none",
        {"name": "caa", "strengths": [1, 2]},
        {"name": "conditional", "strengths": [1]},
        {"name": "iti_heads", "strengths": [1]},
    ]
    return parse_grid(small_grid(tiny_folder, methods=methods) | {"run": {"device": "cpu"}})


@pytest.fixture(scope="module")
def probed(grid: Grid) -> Probed:
    """Nothing is fitted: neither contrast sets nor heads are read."""
    return probe(grid, make_plan(grid), TaskResources(None))


def test_every_kind_of_request_is_measured(grid: Grid, probed: Probed) -> None:
    (replica,) = probed.replicas.values()
    tasks = {kind: rate.task for kind, rate in replica.rates.items()}
    assert tasks == {
        "multiple_choice": "truthful_mini_mc",
        "generate_until": "truthful_mini_gen",
    }
    assert all(rate.seconds > 0 and rate.flops > 0 for rate in replica.rates.values())
    assert replica.load > 0
    assert not replica.on_gpu
    # PyTorch alone takes more; a machine has more.
    assert 1e8 < replica.memory < replica.capacity


def test_seconds_are_proportional_to_operations(grid: Grid, probed: Probed) -> None:
    counter = Counter(TaskResources(None), grid.run.batch_size)
    (replica,) = probed.replicas.values()
    expected = groups(make_plan(grid))
    assert [group for group, _ in probed.groups] == expected
    for group, seconds in probed.groups:
        (rate,) = (r for r in replica.rates.values() if r.task == group[0].task.name)
        assert seconds / rate.seconds == pytest.approx(counter.count(group).flops / rate.flops)
        if len(group) == rate.cells and rate.items == group[0].task.limit:
            assert seconds == pytest.approx(rate.seconds, rel=0.5)


def test_works_take_the_measured_seconds(grid: Grid, probed: Probed) -> None:
    before = work_items(grid, make_plan(grid), None)
    after = probed.timed(before)
    (replica,) = probed.replicas.values()
    assert {work.id: work.cost for work in after} == {
        group_id(group): seconds for group, seconds in probed.groups
    }
    assert {work.load for work in after} == {replica.load}
    for one, other in zip(before, after, strict=True):
        assert one == dataclasses.replace(other, cost=one.cost, load=one.load)


def test_it_says_what_it_does_not_count(probed: Probed) -> None:
    text = "\n".join(probed.lines())
    assert "not counted: contrast sets that are read and fits" in text
    total = sum(seconds for _, seconds in probed.groups)
    loading = sum(replica.load for replica in probed.replicas.values())
    assert f"in all {total + loading:.0f} s on one replica" in text


def test_a_probe_that_is_killed_names_the_model(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is where memory runs out."""
    monkeypatch.setattr("steereval.harness.estimate.timing_probe.measured", die)
    with pytest.raises(ModelError, match=r"model was killed\. Memory may have run out"):
        probe(grid, make_plan(grid), TaskResources(None))


def replica(memory: int, capacity: int, on_gpu: bool) -> Replica:
    return Replica(1.5, memory, capacity, on_gpu, {"loglikelihood": Rate("t", 2, 3, 1.0, 1e9)})


def test_how_many_fit() -> None:
    here = replica(2 * GIB, 24 * GIB, False).in_words("m")
    assert here == (
        "m: loaded in 1.5 s, at most 2.00 GiB of main memory: "
        "10 replicas fit into the 24.00 GiB here"
    )
    there = replica(15 * GIB, 80 * GIB, True).in_words("m")
    assert there.endswith("at most 15.00 GiB of a GPU of 80.00 GiB: `gpus: 0.25` suffices")


@pytest.mark.parametrize(
    ("memory", "gpus"),
    [(0.5, 0.12), (20, 0.33), (32, 0.5), (33, 1), (65, 1), (66, 2), (200, 4)],
)
def test_gpus_that_suffice(memory: float, gpus: float) -> None:
    """On GPUs of 80 GiB."""
    assert suggested_gpus(int(memory * GIB), 80 * GIB) == gpus


@given(st.integers(1, 400 * GIB), st.integers(8 * GIB, 200 * GIB))
def test_replicas_of_the_share_fit_together(memory: int, capacity: int) -> None:
    gpus = suggested_gpus(memory, capacity)
    need = MARGIN * memory + CONTEXT
    if gpus < 1:
        together = int(1 / gpus + 1e-9)
        assert together * need <= capacity
        assert together == 8 or (together + 1) * need > capacity
    else:
        assert need <= gpus * capacity
        assert gpus == 1 or need > (gpus - 1) * capacity
