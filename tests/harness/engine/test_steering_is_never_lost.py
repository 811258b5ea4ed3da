"""A request that is to be steered is steered, or its cell is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_requests import choice_requests, instance, writing_requests
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from steereval.common.errors import CellError
from steereval.harness.config.grid import parse_grid
from steereval.harness.engine.arms import Answers
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import Treatment, unfitted, unsteered
from steereval.harness.planning.plan import make_plan
from steereval.harness.run.driver import run_grid
from steereval.models import fit_steerer
from steereval.models.artefacts.artefact import Artefact
from steereval.models.steering.hook_points import Site
from steereval.models.steering.hook_targets import HookTarget
from steereval.models.steering.hooks import Session
from steereval.models.steering.positions import Positions
from steereval.results.store.run_folder import RunFolder

KINDS = ("loglikelihood", "generate_until", "loglikelihood_rolling")
COPIES: dict[str, Callable[[str], str]] = {
    "str": lambda text: str(text),
    "strip": lambda text: f"\0{text}\0".strip("\0"),
    "f-string": lambda text: f"{text}",
    "join": lambda text: "".join(list(text)),
}


@pytest.fixture(scope="module")
def lm(tiny_folder: str) -> SteeredLM:
    return SteeredLM(tiny_folder, max_length=96, device="cpu", dtype="float32", batch_size=3)


@pytest.fixture(scope="module")
def hf(tiny_folder: str) -> HFLM:
    return HFLM(tiny_folder, max_length=96, device="cpu", dtype="float32", batch_size=3)


def caa(strength: float, rule: str = "generated", layer: int = 1) -> Treatment:
    draw = torch.Generator().manual_seed(layer)
    steerer = fit_steerer("caa", *torch.randn(2, 20, 32, generator=draw))
    artefact = Artefact({Site(layer): steerer}, {})
    return unfitted(artefact, "caa", strength, "absolute", Positions(rule))


def requests_of(kind: str) -> list[Instance]:
    if kind == "loglikelihood":
        return choice_requests(3)
    if kind == "generate_until":
        return writing_requests(5)
    return [instance(kind, text, (text,)) for text in ("The moon is far.", "Tea is a drink.")]


def answered(lm: SteeredLM, kind: str, treatments: list[Treatment]) -> list[list[Any]]:
    result: list[Answers] = lm.answer(kind, requests_of(kind), treatments, [0] * len(treatments))
    return [each.values for each in result]


def copying(monkeypatch: pytest.MonkeyPatch, copy: Callable[[str], str]) -> None:
    """Let lm-eval's calls see copies of the requests' texts."""
    for kind in KINDS:
        original = getattr(HFLM, kind)

        def call(self: Any, requests: list[Instance], *rest: Any, _original: Any = original) -> Any:
            copies = [
                instance(
                    each.request_type,
                    "",
                    tuple(copy(part) if isinstance(part, str) else part for part in each.args),
                )
                for each in requests
            ]
            return _original(self, copies, *rest)

        monkeypatch.setattr(HFLM, kind, call)


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_lm_eval_copies_stay_steered(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, kind: str, copy: str
) -> None:
    treatments = [unsteered(), caa(3.0), caa(-3.0)]
    expected = answered(lm, kind, treatments)
    assert expected[0] != expected[1] != expected[2]
    copying(monkeypatch, COPIES[copy])
    assert answered(lm, kind, treatments) == expected


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_texts_that_lm_eval_changes_are_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    copying(monkeypatch, lambda text: text + " ")
    with pytest.raises(CellError, match="a text that no request holds"):
        answered(lm, kind, [caa(3.0)])


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_requests_that_lm_eval_leaves_out_are_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    original = getattr(HFLM, kind)

    def call(self: Any, requests: list[Instance], *rest: Any) -> Any:
        result = original(self, requests[1:], *rest)
        return [result[0], *result]

    monkeypatch.setattr(HFLM, kind, call)
    with pytest.raises(CellError, match="left out 1 requests"):
        answered(lm, kind, [caa(3.0)])


def test_texts_that_lm_eval_hands_back_in_another_order_are_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms of one prompt have the same text, so that the order alone tells them apart."""
    original = HFLM.generate_until

    def call(self: Any, requests: list[Instance], *rest: Any) -> Any:
        return original(self, requests, *rest)[::-1]

    monkeypatch.setattr(HFLM, "generate_until", call)
    with pytest.raises(CellError, match="was not generated for"):
        answered(lm, "generate_until", [caa(3.0), caa(-3.0)])


def test_prompts_of_several_generation_options_keep_their_own_steering(lm: SteeredLM) -> None:
    """lm-eval answers requests of one text in groups of equal options."""
    options = [{"until": ["\n"], "max_gen_toks": tokens} for tokens in (9, 4, 9)]
    requests = [instance("generate_until", "moon", ("The moon is", each)) for each in options]
    treatments = [caa(3.0), unsteered()]
    together = lm.answer("generate_until", requests, treatments, [0, 0])
    for treatment, result in zip(treatments, together, strict=True):
        alone = [
            lm.answer("generate_until", [each], [treatment], [0])[0].values[0] for each in requests
        ]
        assert result.values == alone
    assert together[0].values != together[1].values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", [True, False])
def test_a_pass_that_the_hooks_do_not_see_is_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, kind: str, sharing: bool
) -> None:
    """As in a captured graph, which is replayed without Python."""
    monkeypatch.setattr(lm.steering_backend, "sharing", sharing)
    calls = 0
    steer = Session.steer

    def some(self: Session, place: HookTarget, hidden: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += self.context is not None  # blocks below the steering run without a frame
        return hidden if calls == 1 else steer(self, place, hidden)

    monkeypatch.setattr(Session, "steer", some)
    with pytest.raises(
        CellError, match=r"steered \d+ tokens at layer 1 where the requests ask for"
    ):
        answered(lm, kind, [caa(3.0)])


def test_decoding_that_passes_the_frames_by_is_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes that the generation hook does not see leave tokens unsteered."""
    monkeypatch.setattr(
        "steereval.models.inference.generation.module_that_runs", lambda model: torch.nn.Identity()
    )
    with pytest.raises(CellError, match="tokens that a request asks to be steered"):
        answered(lm, "generate_until", [caa(3.0)])


def test_a_row_that_is_laid_out_wrongly_is_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steereval.models.inference.prefix_tree import Request

    right = Request.assigned
    monkeypatch.setattr(Request, "assigned", lambda self, index: right(self, max(0, index - 1)))
    with pytest.raises(CellError, match="of a packed text are steered under"):
        answered(lm, "loglikelihood", [caa(3.0)])


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_positions_that_select_no_token_are_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Here under lm-eval's own command; a grid does the same for each cell."""
    monkeypatch.setattr(lm, "own_text", lambda request: request.args[0])
    monkeypatch.setattr(lm, "treatment", caa(3.0, "500:600"))
    with pytest.raises(CellError, match="steered no token of any request"):
        getattr(lm, kind)(requests_of(kind), disable_tqdm=True)


@pytest.mark.slow
def test_a_cell_that_steers_no_token_is_an_error(tiny_folder: str, tmp_path: Path) -> None:
    """The other cells of its group are stored."""
    some = parse_grid(
        {
            "name": "lost",
            "models": [{"name": tiny_folder, "dtype": "float32", "layers": [1]}],
            "contrast": {"name": "truthful-mini", "fraction": 0.1},
            "methods": ["none", {"name": "caa", "strengths": [1], "positions": "500:600"}],
            "tasks": [{"name": "truthful_mini_mc", "limit": 3}],
        }
    )
    run_grid(some, tmp_path, None, lambda line: None)
    records = RunFolder(tmp_path).records()
    status = {cell.method.name: records[cell.id].status for cell in make_plan(some)}
    assert status == {"none": "done", "caa": "failed"}


@pytest.mark.slow
def test_memory_that_runs_out_is_not_counted_twice(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of a batch that is computed again in halves count once."""
    requests = requests_of("generate_until")
    (expected,) = lm.answer("generate_until", requests, [caa(3.0)], [0])
    steer, calls = Session.steer, 0

    def short(self: Session, place: HookTarget, hidden: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        moved = steer(self, place, hidden)
        if calls == 3:
            raise torch.OutOfMemoryError
        return moved

    monkeypatch.setattr(Session, "steer", short)
    (retried,) = lm.answer("generate_until", requests, [caa(3.0)], [0])
    assert calls > 3
    assert retried.values == expected.values
    (once,), (again,) = (each.moved.values() for each in (expected, retried))
    assert again.tokens == once.tokens
    assert again.distance == pytest.approx(once.distance, rel=1e-5)


@pytest.mark.parametrize("sharing", [True, False])
def test_the_tokens_counted_are_those_of_the_positions(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, sharing: bool
) -> None:
    """The prompt's last token and each later one that is fed, once where texts share them."""
    monkeypatch.setattr(lm.steering_backend, "sharing", sharing)
    requests = choice_requests(1)[:1]
    (answers,) = lm.answer("loglikelihood", requests, [caa(3.0)], [0])
    _, answer = lm._encode_pair(*requests[0].args)
    assert answers.moved["1"].tokens == len(answer)


def test_a_steered_model_that_is_asked_directly_is_an_error(tiny_folder: str) -> None:
    """lm-eval's inner calls do not say which request they are for."""
    lm = SteeredLM(tiny_folder, device="cpu", dtype="float32", batch_size=3)
    lm.treatment = caa(3.0)
    ids, mask = lm.tok_batch_encode(["The moon is"])
    with pytest.raises(CellError, match="called without one"):
        lm._model_generate(ids, max_length=12, stop=["\n\n"], attention_mask=mask)
    with pytest.raises(CellError, match="called without one"):
        lm._loglikelihood_tokens([(None, [5], [7])], disable_tqdm=True)


@pytest.mark.parametrize("wrapped", ["{}", "<user>{}</user><assistant>"])
def test_few_shot_text_of_a_chat_is_not_steered(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch, wrapped: str
) -> None:
    """A chat template puts text behind the question as well as in front of it."""
    shots, question = "Q: What is bread?\nA: Food.\n\n", "Q: What is tea?\nA:"
    prompt = shots + wrapped.format(question)
    request = [instance("loglikelihood", "?", (prompt, " A drink."))]
    monkeypatch.setattr(lm, "own_text", lambda _: question)
    (answers,) = lm.answer("loglikelihood", request, [caa(3.0, "prompt")], [0])
    before = len(lm.tok_encode(prompt[: prompt.index(question)]))
    assert answers.moved["1"].tokens == len(lm.tok_encode(prompt)) - before


def test_a_prompt_without_the_tasks_own_text_is_an_error(
    lm: SteeredLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm, "own_text", lambda _: "Q: What is bread?")
    request = [instance("loglikelihood", "?", ("Q: What is tea?\nA:", " A drink."))]
    with pytest.raises(CellError, match="does not hold the task's own text"):
        lm.answer("loglikelihood", request, [caa(3.0, "prompt")], [0])
