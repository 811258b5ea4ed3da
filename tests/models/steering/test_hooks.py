"""Hooks steer the tokens they are told to, never in place, and never outlive their block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steereval.common.errors import CellError, InputError, ModelError
from steereval.models.methods.constant_shift import ConstantShift
from steereval.models.steering.forward_context import ForwardContext
from steereval.models.steering.hook_points import Site, block_at, head_width, output_projection
from steereval.models.steering.hook_targets import HookTarget, reading
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.steerer import Steerer

IDS = torch.tensor([[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]])


@pytest.fixture
def model(tiny: Any, count_hooks: Any) -> Iterator[Any]:
    """A Llama that must be without hooks before and after."""
    result = tiny("llama")
    assert count_hooks(result) == 0
    yield result
    assert count_hooks(result) == 0


def shift(vector: Tensor) -> ConstantShift:
    return ConstantShift(vector, dimension=len(vector), median_norm=4.0)


def states(model: Any, site: Site, ids: Tensor = IDS) -> Tensor:
    with reading(model, [site]) as run:
        return run(input_ids=ids)[site]


def states_under(
    model: Any, interventions: list[Intervention], assigned: Tensor, *sites: Site
) -> dict[Site, Tensor]:
    with (
        steered(model, interventions) as session,
        reading(model, sites) as run,
        session.on(ForwardContext(assigned)),
    ):
        return run(input_ids=IDS)


@dataclass(frozen=True)
class Rotating(Steerer):
    """Multiplies by a matrix, and notes the precision of the product."""

    method: ClassVar[str] = "rotating"
    products: list[torch.dtype]

    def move(self, x: Tensor, strength: float, state: Tensor | None) -> Tensor:
        product = x @ torch.eye(self.dimension)
        self.products.append(product.dtype)
        return product


def test_steerers_keep_their_precision_in_mixed_precision(model: Any) -> None:
    steerer = Rotating([], dimension=32)
    with (
        torch.autocast("cpu", torch.bfloat16),
        steered(model, [Intervention({Site(1): steerer}, 1.0)]) as session,
        session.on(ForwardContext(torch.zeros(2, 5).long())),
    ):
        model(input_ids=IDS)
    assert steerer.products == [torch.float32]


def test_gone_after_normal_exit(model: Any, toys: Any, count_hooks: Any) -> None:
    sites = {Site(0): toys.Shift(dimension=32), Site(1, 2): toys.Shift(dimension=8)}
    with steered(model, [Intervention(sites, 1.0)]):
        assert count_hooks(model) == 2
    assert count_hooks(model) == 0


def test_gone_after_an_error_in_the_block(model: Any, toys: Any) -> None:
    with (
        pytest.raises(KeyError),
        steered(model, [Intervention({Site(0): toys.Shift(dimension=32)}, 1)]),
    ):
        raise KeyError("anything")


def test_gone_after_an_error_in_the_model(model: Any, toys: Any) -> None:
    intervention = Intervention({Site(0): toys.Shift(dimension=32)}, 1.0)
    frame = ForwardContext(torch.zeros(1, 1).long())
    with (
        pytest.raises(IndexError),
        steered(model, [intervention]) as session,
        session.on(frame),
    ):
        model(input_ids=torch.tensor([[10_000]]))
    assert session.context is None


def test_gone_after_an_error_in_a_steerer(model: Any, toys: Any) -> None:
    intervention = Intervention({Site(1): toys.Raising(dimension=32)}, 1.0)
    with pytest.raises(RuntimeError, match="the steerer failed"):
        states_under(model, [intervention], torch.zeros_like(IDS), Site(2))


def test_gone_when_a_later_site_does_not_exist(model: Any, toys: Any) -> None:
    sites = {Site(0): toys.Shift(dimension=32), Site(7): toys.Shift(dimension=32)}
    with pytest.raises(ModelError, match="layer 7"), steered(model, [Intervention(sites, 1.0)]):
        pytest.fail("the block must not be entered")


def test_gone_when_reading_fails(model: Any) -> None:
    with pytest.raises(IndexError), reading(model, [Site(0), Site(1)]) as run:
        run(input_ids=torch.tensor([[10_000]]))


def test_nothing_is_hooked_that_does_not_act(model: Any, toys: Any, count_hooks: Any) -> None:
    idle = [Intervention({Site(0): toys.Shift(dimension=32)}, 0.0), Intervention({}, 3.0)]
    with steered(model, idle):
        assert count_hooks(model) == 0


def test_without_a_frame_the_model_is_left_alone(model: Any, toys: Any) -> None:
    plain = model(input_ids=IDS).logits
    with steered(model, [Intervention({Site(0): toys.Shift(dimension=32)}, 5.0)]):
        assert torch.equal(model(input_ids=IDS).logits, plain)


def test_activations_are_not_edited_in_place(model: Any, toys: Any) -> None:
    """What the block returned is the same after the steering hook has seen it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen.append((hidden, hidden.clone()))

    handle = block_at(model, 1).register_forward_hook(keep)
    heads: list[tuple[Tensor, Tensor]] = []
    projection = output_projection(block_at(model, 1))
    before = projection.register_forward_pre_hook(
        lambda _, inputs: heads.append((inputs[0], inputs[0].clone()))
    )
    sites = {Site(1): toys.Shift(dimension=32), Site(1, 0): toys.Shift(dimension=8)}
    frame = ForwardContext(torch.zeros_like(IDS))
    with steered(model, [Intervention(sites, 3.0)]) as session, session.on(frame):
        steered_logits = model(input_ids=IDS).logits
    handle.remove()
    before.remove()
    for original, copy in (*seen, *heads):
        assert torch.equal(original, copy)
    assert not torch.equal(steered_logits, model(input_ids=IDS).logits)


@settings(max_examples=30)
@given(st.lists(st.integers(-1, 2), min_size=10, max_size=10))
def test_each_token_gets_its_intervention(tiny: Any, assignment: list[int]) -> None:
    """Three interventions in one batch, each on its own tokens, and nothing elsewhere."""
    model = tiny("llama")
    vectors = torch.eye(32)[:3]
    assigned = torch.tensor(assignment).view(2, 5)
    interventions = [Intervention({Site(1): shift(v)}, 2.0) for v in vectors]
    activations = states_under(model, interventions, assigned, Site(1))[Site(1)]
    wanted = states(model, Site(1)).clone()
    for row, column in (assigned >= 0).nonzero().tolist():
        wanted[row, column] += 2.0 * vectors[assigned[row, column]]
    assert torch.equal(activations, wanted)


def test_several_sites_of_one_intervention(model: Any) -> None:
    """A head and the output of its block, then a higher block, whose input has changed."""
    sites = [Site(1, 3), Site(1), Site(2)]
    steerers = {s: shift(torch.full((32 if s.head is None else 8,), 1.0 + s.layer)) for s in sites}
    assigned = torch.zeros_like(IDS)
    alone = [
        states_under(model, [Intervention({k: steerers[k] for k in keys}, 1.0)], assigned, *sites)
        for keys in (sites[:1], sites[:2], sites)
    ]
    with reading(model, sites) as run:
        plain = run(input_ids=IDS)
    assert torch.allclose(alone[0][Site(1, 3)], plain[Site(1, 3)] + 2.0)
    assert not torch.allclose(alone[0][Site(1)], plain[Site(1)], atol=1e-3)
    assert torch.allclose(alone[1][Site(1)], alone[0][Site(1)] + 2.0)
    assert torch.allclose(alone[2][Site(2)], alone[1][Site(2)] + 3.0)


def test_head_site_is_a_slice_of_the_projections_input(any_model: Any, architecture: str) -> None:
    """Steering one head changes its slice of the projection's input by the vector, no other."""
    if architecture == "mamba":
        pytest.skip("it has no attention")
    projection = output_projection(block_at(any_model, 1))
    width = head_width(any_model, projection)
    vector = torch.arange(1.0, width + 1)
    inputs: list[Tensor] = []
    sites = {Site(1, 2): shift(vector)}
    assigned = torch.tensor([[-1, 0, -1, -1, 0], [-1, -1, -1, 0, 0]])
    for frame in (None, ForwardContext(assigned)):
        with steered(any_model, [Intervention(sites, 3.0)]) as session:
            handle = projection.register_forward_pre_hook(lambda _, a: inputs.append(a[0].clone()))
            session.context = frame
            any_model(input_ids=IDS)
            handle.remove()
    plain, moved = inputs
    wanted = plain.clone()
    wanted[..., 2 * width : 3 * width] += 3.0 * vector * (assigned == 0)[..., None]
    assert torch.equal(moved, wanted)


def test_lora_model_is_steered(lora: Any) -> None:
    model = lora("llama", "o_proj")
    vector = torch.arange(32.0)
    plain = states(model, Site(1))
    activations = states_under(
        model, [Intervention({Site(1): shift(vector)}, 2.0)], torch.zeros_like(IDS), Site(1)
    )
    assert torch.allclose(activations[Site(1)], plain + 2.0 * vector)


def test_not_finite_names_layer_and_label(model: Any, toys: Any) -> None:
    broken = Intervention({Site(1): toys.Broken(dimension=32)}, 1.0, label="caa at strength 9")
    with pytest.raises(CellError, match=r"caa at strength 9 .*not finite at layer 1\b"):
        states_under(model, [broken], torch.zeros_like(IDS), Site(1))
    nameless = Intervention({Site(0): toys.Broken(dimension=32)}, 1.0)
    with pytest.raises(CellError, match=r"toy_broken .*at layer 0\b"):
        states_under(model, [nameless], torch.zeros_like(IDS), Site(1))


def test_overflow_of_the_models_dtype_is_reported() -> None:
    """Finite in float32, infinite in float16: the model must not go on with it."""
    session = Session([Intervention({Site(0): shift(torch.ones(4))}, 1e6)])
    hidden, place = torch.zeros(1, 2, 4, dtype=torch.float16), HookTarget([Site(0)], None)
    frame = ForwardContext(torch.zeros(1, 2).long())
    with pytest.raises(CellError, match="not finite"), session.on(frame):
        session.steer(place, hidden)


@pytest.mark.parametrize("length", [1, 3])
def test_constant_shifts_of_many_interventions_share_an_addition(length: int) -> None:
    """Each token gets its own intervention's vector, in every pass of a frame, counted once."""
    place = HookTarget([Site(0)], None)
    vectors = torch.eye(4)[:3]
    session = Session([Intervention({Site(0): shift(each)}, 2.0) for each in vectors])
    draw = torch.Generator().manual_seed(length)
    assigned = torch.randint(-1, 3, (8, length), generator=draw)
    frame = ForwardContext(assigned)
    hidden = torch.randn(8, length, 4, generator=draw)
    for _ in range(2):
        with session.on(frame):
            moved = session.steer(place, hidden)
        added = torch.cat([2 * vectors, torch.zeros(1, 4)])[assigned]
        assert torch.equal(moved, hidden + added)
    tokens = {index: stats.tokens for (index, _), stats in session.displacements.items()}
    assert tokens == {
        i: 2 * int((assigned == i).sum()) for i in set(assigned[assigned >= 0].tolist())
    }
    for stats in session.displacements.values():
        assert stats.distance == pytest.approx(2.0 * stats.tokens)
    assert session.displacements[0, Site(0)].tokens == tokens[0]  # reading does not count again


def test_wrong_dimension_is_reported(model: Any) -> None:
    wrong = Intervention({Site(0): shift(torch.ones(16))}, 1.0)
    with pytest.raises(InputError, match=r"dimension 32 .* dimension 16"):
        states_under(model, [wrong], torch.zeros_like(IDS), Site(0))


def test_relative_strength_is_of_each_sites_norm(model: Any) -> None:
    """One relative strength displaces by r times the median norm, whatever the vector."""
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    relative = Intervention({Site(0): shift(vector)}, 0.5, "relative")
    activations = states_under(model, [relative], torch.zeros_like(IDS), Site(0))[Site(0)]
    moved = (activations - states(model, Site(0))).norm(dim=-1)
    assert torch.allclose(moved, torch.full_like(moved, 2.0))


def test_a_gate_decides_for_each_query_from_its_prompt(model: Any, gate: Any) -> None:
    steerer = gate(32)
    frame = ForwardContext(
        torch.tensor([[-1, -1, 0, 0, 0], [-1, 0, 0, 0, -1]]),
        torch.tensor([[0] * 5, [1] * 5]),
        torch.tensor([[0, 2], [1, 1]]),
        ["first", "second"],
    )
    plain = states(model, Site(1))
    with (
        steered(model, [Intervention({Site(1): steerer}, 2.0)]) as session,
        reading(model, [Site(1)]) as run,
        session.on(frame),
    ):
        result = run(input_ids=IDS)[Site(1)]
    scores = torch.stack([plain[0, 2], plain[1, 1]]) @ steerer.probe
    assert steerer.decided == {"first": [scores[0].item()], "second": [scores[1].item()]}
    factor = torch.where(scores > 0, 1.0, 0.5)[:, None, None]
    steps = 2.0 * factor * steerer.vector * (frame.assigned == 0)[..., None]
    assert torch.allclose(result, plain + steps, atol=1e-6)


def test_a_gates_decision_outlasts_its_pass(gate: Any) -> None:
    """A later pass without the prompt uses what the prompt's pass decided."""
    steerer, place = gate(4), HookTarget([Site(0)], None)
    session = Session([Intervention({Site(0): steerer}, 1.0)])
    hidden = torch.stack([steerer.probe, -steerer.probe])[:, None]
    query = torch.tensor([[0], [1]])
    last = torch.tensor([[0, 0], [1, 0]])
    with session.on(ForwardContext(torch.full((2, 1), -1), query, last, ["a", "b"])):
        assert torch.equal(session.steer(place, hidden), hidden)
    zeros = torch.zeros(2, 1, 4)
    with session.on(ForwardContext(torch.zeros(2, 1).long(), query)):
        moved = session.steer(place, zeros)
    assert torch.allclose(moved[:, 0], torch.stack([steerer.vector, steerer.vector / 2]))


def test_reading_stops_after_the_highest_site(model: Any) -> None:
    called: list[int] = []
    handle = block_at(model, 2).register_forward_hook(lambda *_: called.append(2))
    states(model, Site(1))
    handle.remove()
    assert called == []


def test_reading_sees_block_outputs_before_the_final_norm(any_model: Any) -> None:
    outputs: list[Tensor] = []
    handle = block_at(any_model, 2).register_forward_hook(
        lambda module, inputs, output: outputs.append(
            output[0] if isinstance(output, tuple) else output
        )
    )
    activations = states(any_model, Site(2))
    handle.remove()
    assert torch.equal(activations, outputs[0])
    assert activations.shape == (2, 5, 32)


@dataclass(frozen=True)
class Unfolded(ConstantShift):
    """The same shift, handed its tokens like any other steerer."""

    def shift(self, strength: float) -> None:
        return None


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    assignment=st.lists(st.integers(-1, 1), min_size=10, max_size=10),
    everywhere=st.booleans(),
    unit=st.sampled_from(["absolute", "relative"]),
    heads=st.booleans(),
)
def test_a_bias_is_the_steerer_itself(
    tiny: Any, assignment: list[int], everywhere: bool, unit: str, heads: bool
) -> None:
    """Whether constant vectors are folded into one addition or applied one by one."""
    model = tiny("llama")
    sites = [Site(1, 0), Site(1, 2)] if heads else [Site(1)]
    width = 8 if heads else 32
    assigned = torch.zeros_like(IDS) if everywhere else torch.tensor(assignment).view(2, 5)
    result = []
    displacements = []
    for kind in (ConstantShift, Unfolded):
        interventions = [
            Intervention(
                {
                    site: kind(torch.arange(width) - 3.0 * number, dimension=width, median_norm=4)
                    for number, site in enumerate(sites)
                },
                0.5 + row,
                unit,
            )
            for row in range(2)
        ]
        with (
            steered(model, interventions) as session,
            reading(model, [Site(2)]) as run,
            session.on(ForwardContext(assigned)),
        ):
            result.append(run(input_ids=IDS)[Site(2)])
        displacements.append(session.displacements)
    assert torch.allclose(result[0], result[1], atol=1e-5)
    assert displacements[0].keys() == displacements[1].keys()
    for key, stats in displacements[0].items():
        assert stats.tokens == displacements[1][key].tokens
        assert float(stats.distance) == pytest.approx(
            float(displacements[1][key].distance), rel=1e-4
        )


def test_the_tally_is_how_far_tokens_moved(model: Any) -> None:
    """By intervention and site, over several passes; those left alone are not counted."""
    vector = torch.full((32,), 2.0)
    interventions = [Intervention({Site(1): shift(vector)}, s) for s in (1.0, 3.0)]
    assigned = torch.tensor([[0, 0, -1, -1, 1], [-1, -1, -1, -1, 1]])
    with steered(model, interventions) as session:
        for _ in range(2):
            with session.on(ForwardContext(assigned)):
                model(input_ids=IDS)
    length = float(vector.norm())
    for index, strength in enumerate((1.0, 3.0)):
        stats = session.displacements[index, Site(1)]
        assert stats.tokens == 4
        assert float(stats.distance) / 4 == pytest.approx(strength * length)
