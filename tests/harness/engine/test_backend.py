"""What every backend of the steered language model does: those that compute and that count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness_requests import choice_requests, writing_requests

from steereval.common.errors import ModelError
from steereval.harness.config.grid import ModelSpec
from steereval.harness.engine.backend import Backend, GenerationBatch
from steereval.harness.engine.hf_backend import HuggingFaceBackend
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.token_counting import TokenCountingBackend, TokenCountingLM
from steereval.harness.engine.treatments import Treatment, unfitted, unsteered
from steereval.harness.planning.token_cost import Cost
from steereval.models import fit_steerer
from steereval.models.artefacts.artefact import Artefact
from steereval.models.inference.generation import Prompts
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hook_points import Site
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions

WIDTH = 32
"""Of the small model's states."""
PROMPTS = [(5, 6, 7, 8), (9, 10)]


@pytest.fixture(scope="module", params=["shared", "plain", "counting"])
def lm(request: pytest.FixtureRequest, tiny_folder: str) -> SteeredLM:
    if request.param == "counting":
        return TokenCountingLM(ModelSpec(tiny_folder, layers=()), tiny_folder, batch_size=4)
    options = {"device": "cpu", "dtype": "float32", "batch_size": 4, "path": request.param}
    return SteeredLM(tiny_folder, method="none", **options)


@pytest.fixture(scope="module")
def backend(lm: SteeredLM) -> Backend:
    assert isinstance(lm.steering_backend, (HuggingFaceBackend, TokenCountingBackend))
    return lm.steering_backend


def shift(layer: int = 1) -> Intervention:
    generator = torch.Generator().manual_seed(0)
    steerer = fit_steerer("caa", *torch.randn(2, 20, WIDTH, generator=generator))
    return Intervention({Site(layer): steerer}, 2.0)


def treatments() -> list[Treatment]:
    (steerer,) = shift().steerers.values()
    positions = Positions("generated")
    artefact = Artefact({Site(1): steerer}, {})
    return [unsteered(), unfitted(artefact, "caa", 2.0, "absolute", positions)]


def hooks(lm: SteeredLM) -> int:
    return sum(len(module._forward_hooks) for module in lm.model.modules())


def requests(count: int) -> list[Request]:
    texts = [((5, 6, 7), (8, 9)), ((5, 6, 7), (10,)), ((11, 12), (13, 14, 15))]
    steered = [Request(*texts[i % 3], 0, len(texts[i % 3][0]) - 1, None) for i in range(count)]
    return [*steered, steered[0].unsteered]


def batch(lm: SteeredLM, written: int, steered: bool = True) -> GenerationBatch:
    """Two prompts of different lengths, one of them steered."""
    width = max(map(len, PROMPTS))
    padding = [width - len(prompt) for prompt in PROMPTS]
    ids = torch.tensor([[0] * p + list(r) for p, r in zip(padding, PROMPTS, strict=True)])
    mask = torch.tensor([[0] * p + [1] * len(r) for p, r in zip(padding, PROMPTS, strict=True)])
    prompts = Prompts(
        torch.tensor(padding),
        width,
        [0, 0],
        [0 if steered else -1, -1],
        [Positions("generated")] * 2,
        list(map(str, PROMPTS)),
    )
    return GenerationBatch(
        ids, mask, prompts, ["a", "b"], width + written, [], {}, lm.tokenizer.pad_token_id
    )


def test_a_score_for_each_request(backend: Backend) -> None:
    finished: list[int] = []
    with backend.steering([shift()]) as session:
        scores = backend.score(session, requests(4), lambda: 2, finished.append)
    assert len(scores) == 5
    assert all(score.log_likelihood <= 0 for score in scores)
    assert scores[0] == scores[3], "the same request has the same score"
    assert sum(finished) == 5


def test_no_requests(backend: Backend) -> None:
    with backend.steering([]) as session:
        assert backend.score(session, [], lambda: 2, lambda _: None) == []


def test_generated_rows_begin_with_the_prompts(lm: SteeredLM, backend: Backend) -> None:
    prompts = batch(lm, written=3)
    with backend.steering([shift()]) as session:
        tokens = backend.generate(session, prompts)
    assert tokens.dtype == torch.int64
    assert len(tokens) == len(PROMPTS)
    assert tokens.shape[1] <= prompts.max_length
    assert torch.equal(tokens[:, : prompts.ids.shape[1]], prompts.ids)


def test_rows_of_a_batch(lm: SteeredLM) -> None:
    second = batch(lm, written=3).rows(slice(1, 2))
    assert second.ids.tolist() == [[0, 0, *PROMPTS[1]]]
    assert second.mask.tolist() == [[0, 0, 1, 1]]
    assert second.prompts.padding.tolist() == [2]
    assert list(second.prompts.interventions) == [-1]
    assert second.noise_keys == ["b"]


def test_interventions_are_gone_afterwards(lm: SteeredLM, backend: Backend) -> None:
    before = hooks(lm)

    intervention = shift()
    with backend.steering([intervention]) as session:
        assert hooks(lm) == before + 1
        assert session.interventions == [intervention]
    assert hooks(lm) == before
    with pytest.raises(RuntimeError), backend.steering([intervention]):
        raise RuntimeError
    assert hooks(lm) == before


def test_a_site_that_the_model_lacks(backend: Backend) -> None:
    with pytest.raises(ModelError), backend.steering([shift(layer=99)]):
        pass


def test_short_texts_share_on_the_shared_path(backend: Backend) -> None:
    assert backend.path in ("shared", "plain")
    assert backend.shares(10) == (backend.path == "shared")


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_answers_under_each_treatment(lm: SteeredLM, kind: str) -> None:
    """The adapter gets as many answers from each backend, in the form of the kind."""
    instances = choice_requests(3) if kind == "loglikelihood" else writing_requests(3, tokens=4)
    plain, steered = lm.answer(kind, instances, treatments(), [0, 0])
    assert (plain.acts, steered.acts) == (False, True)
    form = tuple if kind == "loglikelihood" else str
    for answers in (plain, steered):
        assert len(answers.values) == len(instances)
        assert all(isinstance(value, form) for value in answers.values)


class TokensFed:
    """Tokens that reach the first and the last block of a model."""

    def __init__(self, lm: SteeredLM) -> None:
        self.below = self.above = 0
        blocks = lm.model.model.layers
        self.handles = [
            blocks[0].mlp.register_forward_hook(self.first),
            blocks[-1].mlp.register_forward_hook(self.last),
        ]

    def first(self, module: Any, inputs: Any, output: Any) -> None:
        self.below += output.shape[0] * output.shape[1]

    def last(self, module: Any, inputs: Any, output: Any) -> None:
        self.above += output.shape[0] * output.shape[1]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_count_is_what_is_computed(tiny_folder: str, count: int) -> None:
    """Both backends, the same requests: tokens of the passes, by block."""
    computing = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32")
    counting = TokenCountingLM(ModelSpec(tiny_folder, layers=()), tiny_folder, batch_size=1)
    fed = TokensFed(computing)
    for backend in (computing.steering_backend, counting.steering_backend):
        with backend.steering([shift()]) as session:
            backend.score(session, requests(count), lambda: 1, lambda _: None)
    cost = counting.steering_backend.cost
    assert (cost.below, cost.above) == (fed.below, fed.above)


@pytest.mark.parametrize("written", [1, 4])
def test_the_count_of_generated_tokens(tiny_folder: str, written: int) -> None:
    counting = TokenCountingLM(ModelSpec(tiny_folder, layers=()), tiny_folder, batch_size=2)
    backend = counting.steering_backend
    with backend.steering([shift()]) as session:
        backend.generate(session, batch(counting, written))
    tokens = sum(map(len, PROMPTS)) + written * len(PROMPTS)
    assert backend.cost.tokens_unshared == backend.cost.above == tokens
    assert backend.cost.generated == written * len(PROMPTS)


def test_forgetting_keeps_the_count(tiny_folder: str) -> None:
    backend = TokenCountingLM(
        ModelSpec(tiny_folder, layers=()), tiny_folder, batch_size=2
    ).steering_backend
    with backend.steering([]) as session:
        backend.score(session, [Request((5, 6), (7,), -1, 0, 0)], lambda: 1, lambda _: None)
    before = backend.cost
    backend.forget()
    assert backend.cost == before != Cost()


def test_forgetting_drops_states_below_the_steering(tiny_folder: str) -> None:
    lm = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32")
    backend = lm.steering_backend
    assert isinstance(backend, HuggingFaceBackend)
    assert backend.lower_blocks is not None
    with backend.steering([shift()]) as session:
        backend.score(session, requests(3), lambda: 1, lambda _: None)
    assert backend.lower_blocks.cached
    backend.forget()
    assert not backend.lower_blocks.cached
