"""From a contrast set to steerers: one pass for all, parts, layers together, layer by layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from method_options import SMALL
from torch import Tensor

from steereval.common.errors import ContrastError, InputError
from steereval.harness.engine.activations import ActivationStore
from steereval.harness.engine.fit_request import FitRequest, Lower
from steereval.harness.engine.fitter import Fitter, parse_layers
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import fitted
from steereval.models.inference.extraction import Text, Under, read_states
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.displacement import mean_displacement
from steereval.models.steering.hook_points import Site
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.tasks.contrast.registry import ContrastSet, load_contrast


@pytest.fixture(scope="module")
def tiny_lm(tiny_folder: str) -> SteeredLM:
    model = SteeredLM(tiny_folder, method="none", device="cpu", dtype="float32", batch_size=4)
    model.quiet = True
    return model


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No activations of other tests."""
    monkeypatch.setattr("steereval.harness.engine.activations.cache_folder", lambda: tmp_path)


@pytest.fixture(scope="module")
def contrast() -> ContrastSet:
    return load_contrast("truthful-mini", answers="best").subset(0.1, 0)


def request(method: str, layers: str = "1", **changes: Any) -> FitRequest:
    options = SMALL.get(method, {}) | changes.pop("options", {})
    return FitRequest(method, options, layers, "qa", 1.0, 0, changes.pop("lower", None))


METHODS = sorted(name for name, method in BUILT_IN.items() if method.fits and name != "none")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", ["1", "0+2", "all"])
def test_every_method_at_one_layer_or_several(
    tiny_lm: SteeredLM, contrast: ContrastSet, method: str, layers: str
) -> None:
    artefact = Fitter(tiny_lm).fit(contrast, request(method, layers), None)
    wanted = set(parse_layers(layers, 3))
    steered_layers = {site.layer for site in artefact.steerers}
    assert steered_layers <= wanted
    if method == "iti_heads":
        assert len(artefact.steerers) == 2
        assert all(site.head is not None for site in artefact.steerers)
    else:
        assert steered_layers == wanted
    assert artefact.card["sites"] == [str(site) for site in sorted(artefact.steerers)]
    assert artefact.card["n_positive"] == artefact.card["n_negative"] > 20


def test_a_gate_around_a_method_that_needs_rewards(
    tiny_lm: SteeredLM, contrast: ContrastSet
) -> None:
    inner = {"method": "re_control", "method_options": SMALL["re_control"]}
    artefact = Fitter(tiny_lm).fit(contrast, request("conditional", options=inner), None)
    assert artefact.steerers[Site(1)].settings()["inner"]["kind"] == "value_ascent"
    assert artefact.card["training"]["1"]["epochs"] <= 2


def test_one_pass_reads_all_that_was_announced(tiny_lm: SteeredLM, contrast: ContrastSet) -> None:
    """Layers, heads and parts of every method, and no second pass for a fit of it."""
    fitter = Fitter(tiny_lm)
    fit_requests = [request(method, layers) for method in METHODS for layers in ("0", "1+2")]
    for each in fit_requests:
        fitter.expect(contrast, each)
    for each in fit_requests:
        fitter.fit(contrast, each, None)
    assert fitter.store.passes == 1


def test_without_an_announcement_each_new_layer_is_a_pass(
    tiny_lm: SteeredLM, contrast: ContrastSet
) -> None:
    fitter = Fitter(tiny_lm)
    for layers in ("0", "1", "0+1"):
        fitter.fit(contrast, request("caa", layers), None)
    assert fitter.store.passes == 2


def test_what_was_read_is_kept_for_another_process(
    tiny_lm: SteeredLM, contrast: ContrastSet, tmp_path: Path
) -> None:
    first, second = Fitter(tiny_lm), Fitter(tiny_lm)
    one = first.fit(contrast, request("iti_heads", "all"), None)
    other = second.fit(contrast, request("iti_heads", "all"), None)
    assert (first.store.passes, second.store.passes) == (1, 0)
    for site, steerer in one.steerers.items():
        assert torch.equal(steerer.tensors()["vector"], other.steerers[site].tensors()["vector"])
    for file in (tmp_path / "activations").iterdir():
        file.write_bytes(b"damaged")
    third = Fitter(tiny_lm)
    third.fit(contrast, request("iti_heads", "all"), None)
    assert third.store.passes == 1


def test_the_parts_are_what_they_say(tiny_lm: SteeredLM, contrast: ContrastSet) -> None:
    """Against a pass over each text alone, with the prompt's end found by hand."""
    store, site = ActivationStore(tiny_lm), Site(1)
    wanted = {part: [site] for part in ("last", "query", "mean", "tokens")}
    states = store.states(contrast, "qa", wanted)
    offset = 0
    for index, statement in enumerate(contrast.statements[:40]):
        text = f"Q: {statement.question}\nA: {statement.answer}"
        prompt = len(tiny_lm.encode(f"Q: {statement.question}\nA:", True))
        ids = tiny_lm.encode(text, True)
        alone = read_states(tiny_lm.model, [Text(tuple(ids), 1)], {"tokens": [site]})
        answer = alone["tokens"][site][prompt - 1 :]
        assert torch.allclose(states["last"][site][index], answer[-1], atol=1e-4)
        query = alone["tokens"][site][prompt - 2]
        assert torch.allclose(states["query"][site][index], query, atol=1e-4)
        assert torch.allclose(states["mean"][site][index], answer.mean(dim=0), atol=1e-4)
        answer_states = states["tokens"][site][offset : offset + len(answer)]
        assert torch.allclose(answer_states, answer, atol=1e-4)
        offset += len(answer)


@pytest.mark.parametrize("positions", ["generated", "all", "continuation"])
@pytest.mark.parametrize("share", [False, True])
def test_states_under_steering(tiny: Any, positions: str, share: bool) -> None:
    """What a layer sees once the layers below steer, as in a run of the text itself."""
    from steereval.models.methods.constant_shift import ConstantShift
    from steereval.models.steering.forward_context import ForwardContext
    from steereval.models.steering.hook_targets import reading
    from steereval.models.steering.hooks import steered

    model = tiny("llama")
    shift = ConstantShift(torch.ones(32), dimension=32)
    under = Under(Intervention({Site(0): shift}, 2.0), Positions(positions))
    texts = [Text((1, 5, 6, 7, 8), 3, 1), Text((1, 5, 6, 9), 3, 1), Text((1, 7), 1, 1)]
    activations = read_states(model, texts, {"last": [Site(2)]}, share, under)["last"][Site(2)]
    for row, text in enumerate(texts):
        first, end = Positions(positions).interval(text.start, text.unsteered_prefix)
        index = torch.arange(len(text.tokens))
        steers = (index >= first) & (index < (end or 99))
        with (
            steered(model, [under.intervention]) as session,
            reading(model, [Site(2)]) as run,
            session.on(ForwardContext(torch.where(steers, 0, -1)[None])),
        ):
            wanted = run(input_ids=torch.tensor([text.tokens]))[Site(2)][0, -1]
        assert torch.allclose(activations[row], wanted, atol=1e-4)


@pytest.mark.parametrize("method", ["caa", "linact", "mimic", "odesteer", "repe"])
def test_layer_by_layer(tiny_lm: SteeredLM, contrast: ContrastSet, method: str) -> None:
    """The lowest layer as ever; a higher one to what the lower ones leave of the negatives."""
    fitter, lower = Fitter(tiny_lm), Lower(1.0, "absolute", "all")
    apart = fitter.fit(contrast, request(method, "0+2"), None).steerers
    stepwise = fitter.fit(contrast, request(method, "0+2", lower=lower), None)
    assert same(apart[Site(0)], stepwise.steerers[Site(0)])
    assert not same(apart[Site(2)], stepwise.steerers[Site(2)])
    assert stepwise.card["layer_by_layer"]["positions"] == "all"
    negative = [s for s in contrast.statements if not s.positive]
    under = Under(Intervention({Site(0): apart[Site(0)]}, 1.0), Positions("all"))
    rows = fitter.store.states_under(negative, "qa", {"last": [Site(2)]}, under)["last"][Site(2)]
    if method == "caa":
        positive = fitter.store.states(contrast, "qa", {"last": [Site(2)]})["last"][Site(2)]
        chosen = [i for i, s in enumerate(contrast.statements) if s.positive]
        wanted = positive[chosen].mean(dim=0) - rows.mean(dim=0)
        vector = stepwise.steerers[Site(2)].tensors()["vector"]
        assert torch.allclose(vector, wanted, atol=1e-4)


def same(one: Any, other: Any) -> bool:
    first: dict[str, Tensor] = one.tensors()
    return all(torch.equal(tensor, other.tensors()[name]) for name, tensor in first.items())


@pytest.mark.parametrize("method", ["iti_heads", "truthflow", "re_control", "conditional"])
def test_what_cannot_be_fitted_layer_by_layer(
    tiny_lm: SteeredLM, contrast: ContrastSet, method: str
) -> None:
    with pytest.raises(InputError, match=f"{method} cannot be fitted layer by layer"):
        Fitter(tiny_lm).fit(
            contrast, request(method, "0+1", lower=Lower(1.0, "absolute", "all")), None
        )


def test_a_contrast_without_questions(tiny_lm: SteeredLM) -> None:
    comments = load_contrast("toxicity").subset(0.1, 0)
    with pytest.raises(ContrastError, match="toxicity has no questions"):
        Fitter(tiny_lm).fit(comments, request("truthflow"), None)
    artefact = Fitter(tiny_lm).fit(comments, request("re_control"), None)
    assert artefact.card["training"]["1"]["epochs"] == 2


@pytest.mark.slow
def test_rewards_are_a_part(tiny_lm: SteeredLM) -> None:
    """The bundled classifier as reward gives another value network than the labels."""
    comments = load_contrast("toxicity").subset(0.2, 0)
    fits = [
        Fitter(tiny_lm).fit(comments, request("re_control", options={"reward": name}), None)
        for name in ("label", "clean")
    ]
    assert not same(fits[0].steerers[Site(1)], fits[1].steerers[Site(1)])
    with pytest.raises(InputError, match="unknown reward 'labl'"):
        Fitter(tiny_lm).fit(comments, request("re_control", options={"reward": "labl"}), None)


@pytest.mark.parametrize("layers", ["", "a", "1+", "1+1", "-4", "2+-1", "1.5"])
def test_layers_that_are_none(layers: str) -> None:
    with pytest.raises(InputError, match="names no blocks"):
        parse_layers(layers, 3)


def test_layers() -> None:
    assert parse_layers("-1", 30) == (29,)
    assert parse_layers("14", 30) == (14,)
    assert parse_layers("12+14", 30) == (12, 14)
    assert parse_layers("all", 3) == (0, 1, 2)


def test_activations_at_the_mean_of_the_answer(tiny_lm: SteeredLM, contrast: ContrastSet) -> None:
    """CAA is the difference of the classes' means, here of the means of answers."""
    fitter, site = Fitter(tiny_lm), Site(1)
    mean_request = dataclasses.replace(request("caa"), token="mean")
    artefact = fitter.fit(contrast, mean_request, None)
    means = fitter.store.states(contrast, "qa", {"mean": [site]})["mean"][site]
    positive = torch.tensor([s.positive for s in contrast.statements])
    wanted = means[positive].mean(dim=0) - means[~positive].mean(dim=0)
    assert torch.allclose(artefact.steerers[site].tensors()["vector"], wanted, atol=1e-4)
    assert artefact.card["token"] == "mean over the tokens of the answer"
    assert not same(
        artefact.steerers[site], fitter.fit(contrast, request("caa"), None).steerers[site]
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", ["1", "0+2"])
def test_every_method_is_matched_to_a_displacement(
    tiny_lm: SteeredLM, contrast: ContrastSet, method: str, layers: str
) -> None:
    """Each site by itself, on the activations that it was fitted to."""
    fitter, fit_request = Fitter(tiny_lm), request(method, layers)
    treatment = fitted(fitter, contrast, fit_request, 0.05, "displacement", Positions("all"))
    acting = treatment.intervention(None)
    sites = list(acting.steerers)
    states = fitter.store.states(contrast, "qa", {"last": sites, "query": sites})
    for site, steerer in acting.steerers.items():
        x, queries = states["last"][site], states["query"][site]
        moved = mean_displacement(steerer, x, queries, acting.strength_at(site))
        assert moved == pytest.approx(0.05, rel=2e-3)
