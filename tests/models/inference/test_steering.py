"""`steering` steers a user's own passes as an evaluation does, and leaves the model as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

import steereval
from steereval.common.errors import CellError, InputError, ModelError
from steereval.models.inference.generation import Prompts, generating
from steereval.models.steering.hook_points import Site, block_at
from steereval.models.steering.hooks import steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer

PROMPTS = [(5, 6, 7, 8, 9), (10, 11), (12, 13, 14, 15), (16,)]
RULES = ("generated", "all", "prompt", "prompt-last", "continuation", "1:3")
NEW = 5


@pytest.fixture
def tiny_model(tiny: Any) -> Any:
    return tiny("llama")


def fitted(method: str = "caa", seed: int = 0, **options: Any) -> Steerer:
    draw = torch.Generator().manual_seed(seed)
    positive = torch.randn(20, 32, generator=draw) + 1
    return steereval.fit_steerer(method, positive, torch.randn(20, 32, generator=draw), **options)


def batch(prompts: list[tuple[int, ...]] = PROMPTS) -> dict[str, Tensor]:
    width = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
    }


def config(**options: Any) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0,
        return_dict_in_generate=True, output_logits=True, **options,
    )  # fmt: skip


def as_evaluated(model: Any, steerers: dict[Site, Steerer], strength: float, rule: str) -> Any:
    """Generation in the way of an evaluation, without a BOS token."""
    inputs = batch()
    padding = (inputs["attention_mask"] == 0).sum(dim=1)
    keys = [" ".join(map(str, prompt)) for prompt in PROMPTS]
    prompts = Prompts(padding, 5, [0] * 4, [0] * 4, [Positions(rule)] * 4, keys)
    interventions = [Intervention(steerers, strength)]
    with steered(model, interventions) as session, generating(model, session, prompts):
        return model.generate(**inputs, generation_config=config())


def logits(output: Any) -> Tensor:
    return torch.stack(output.logits, dim=1)


@pytest.mark.parametrize("rule", RULES)
def test_generation_is_that_of_an_evaluation(any_model: Any, rule: str) -> None:
    first, second = fitted(), fitted("odesteer", seed=1, components=64)
    expected = as_evaluated(any_model, {Site(0): second, Site(1): first}, 4.0, rule)
    with steereval.steering(any_model, {0: second, 1: first}, 4.0, rule) as model:
        result = model.generate(**batch(), generation_config=config())
    assert result.sequences.tolist() == expected.sequences.tolist()
    assert torch.equal(logits(result), logits(expected))


@pytest.mark.parametrize("rule", ["generated", "prompt"])
def test_generation_without_a_cache_steers_the_same_tokens(any_model: Any, rule: str) -> None:
    with steereval.steering(any_model, {1: fitted()}, 4.0, rule) as model:
        cached = model.generate(**batch(), generation_config=config())
        whole = model.generate(**batch(), generation_config=config(use_cache=False))
    assert torch.allclose(logits(cached), logits(whole), atol=1e-4)


@pytest.mark.parametrize("rule", ["generated", "prompt", "1:3", "continuation"])
@pytest.mark.parametrize(
    "options",
    [
        {"prefill_chunk_size": 2},
        {"cache_implementation": "static"},
        {"num_beams": 3, "num_return_sequences": 2, "use_cache": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_however_passes_are_cut_the_same_tokens_are_steered(
    tiny_model: Any, rule: str, options: dict[str, Any]
) -> None:
    beams = {name: value for name, value in options.items() if name.startswith("num")}
    with steereval.steering(tiny_model, {1: fitted()}, 4.0, rule) as model:
        usual = model.generate(**batch(), generation_config=config(**beams))
        other = model.generate(**batch(), generation_config=config(**options))
    assert torch.allclose(logits(usual), logits(other), atol=1e-4)


@pytest.mark.parametrize("rule", ["generated", "prompt", "continuation"])
def test_candidates_of_an_assistant_are_not_part_of_the_prompt(tiny_model: Any, rule: str) -> None:
    prompt = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]])
    with steereval.steering(tiny_model, {1: fitted()}, 4.0, rule) as model:
        usual = model.generate(prompt, generation_config=config())
        looked_up = model.generate(prompt, generation_config=config(prompt_lookup_num_tokens=2))
    assert torch.allclose(logits(usual), logits(looked_up), atol=1e-4)


def test_passes_outside_of_generate_are_separate_texts(tiny_model: Any) -> None:
    """Also where one text is another with one more token."""
    text = torch.tensor([[5, 6, 7, 8]])
    with steereval.steering(tiny_model, {1: fitted()}, 4.0) as model:
        alone = model(text).logits
        model(text[:, :-1])
        assert torch.equal(model(text).logits, alone)


def test_two_caches_are_continued_in_turn(tiny_model: Any) -> None:
    short, long, more = torch.tensor([[5, 6]]), torch.tensor([[7, 8, 9]]), torch.tensor([[4]])
    with steereval.steering(tiny_model, {1: fitted()}, 4.0, "1:2") as model:
        expected = [model(torch.cat([text, more], 1)).logits[:, -1] for text in (short, long)]
        caches = [model(text, use_cache=True).past_key_values for text in (short, long)]
        result = [model(more, past_key_values=cache).logits[:, -1] for cache in caches]
    assert torch.allclose(torch.stack(result), torch.stack(expected), atol=1e-5)


@pytest.mark.slow
def test_a_compiled_model_is_steered(tiny_model: Any) -> None:
    with steereval.steering(tiny_model, {1: fitted()}, 4.0) as model:
        expected = model.generate(**batch(), generation_config=config())
    compiled = torch.compile(tiny_model, backend="eager")
    with steereval.steering(compiled, {1: fitted()}, 4.0) as model:  # type: ignore[arg-type]
        result = model.generate(**batch(), generation_config=config())
    assert torch.equal(logits(result), logits(expected))


def test_passes_that_cannot_be_told_apart_are_errors(tiny_model: Any) -> None:
    with steereval.steering(tiny_model, {1: fitted()}, 1.0) as model:
        with pytest.raises(CellError, match="two texts in turn"):
            model.generate(**batch(), generation_config=config(guidance_scale=1.5))
        with pytest.raises(CellError, match="without the model around it"):
            model.model(**batch())
        with (
            pytest.raises(InputError, match="already"),
            steereval.steering(model.model, {0: fitted()}, 1.0),
        ):
            pass
    assert "generate" not in vars(tiny_model)


def test_several_generations_in_one_block_are_separate(tiny_model: Any) -> None:
    with steereval.steering(tiny_model, {1: fitted()}, 4.0) as model:
        alone = [
            model.generate(torch.tensor([prompt]), generation_config=config()).sequences[0, -NEW:]
            for prompt in PROMPTS
        ]
        together = model.generate(**batch(), generation_config=config()).sequences[:, -NEW:]
    assert torch.equal(torch.stack(alone), together)


def test_beams_and_several_sequences(tiny_model: Any) -> None:
    with steereval.steering(tiny_model, {1: fitted()}, 4.0) as model:
        output = model.generate(
            **batch(), generation_config=config(num_beams=3, num_return_sequences=2)
        )
    assert output.sequences.shape == (8, 5 + NEW)


def test_forward_passes_are_steered(tiny_model: Any) -> None:
    """The same vector is added to the block's output by hand."""
    steerer = fitted()
    shift = steerer.shift(2.0)
    assert shift is not None

    def add(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        moved = hidden + shift * batch()["attention_mask"][..., None]
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = block_at(tiny_model, 1).register_forward_hook(add)
    expected = tiny_model(**batch()).logits
    handle.remove()
    with steereval.steering(tiny_model, {1: steerer}, 2.0, "all") as model:
        result = model(**batch()).logits
    is_token = batch()["attention_mask"].bool()
    assert torch.allclose(result[is_token], expected[is_token], atol=1e-5)


def test_bos_is_never_steered(tiny_model: Any) -> None:
    bos = tiny_model.config.bos_token_id
    with steereval.steering(tiny_model, {1: fitted()}, 50.0, "all") as model:
        one = model(torch.tensor([[bos, 5]])).logits
    plain = tiny_model(torch.tensor([[bos, 5]])).logits
    assert torch.equal(one[:, 0], plain[:, 0])
    assert not torch.allclose(one[:, 1], plain[:, 1], atol=1e-3)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(tiny_model: Any, fails: bool) -> None:
    before = tiny_model(**batch()).logits
    try:
        with steereval.steering(tiny_model, {1: fitted()}, 4.0):
            if fails:
                raise RuntimeError("an error of the user's")
            assert not torch.equal(tiny_model(**batch()).logits, before)
    except RuntimeError:
        assert fails
    assert torch.equal(tiny_model(**batch()).logits, before)
    assert not any(module._forward_hooks for module in tiny_model.modules())


def test_a_failed_pass_does_not_spoil_the_next(tiny_model: Any) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with steereval.steering(tiny_model, {0: fitted()}, 4.0) as model:
        expected = model(**batch()).logits
        handle = block_at(model, 2).register_forward_pre_hook(fail)
        with pytest.raises(torch.OutOfMemoryError):
            model(**batch())
        handle.remove()
        assert torch.equal(model(**batch()).logits, expected)


def test_strength_zero_is_the_model_itself(tiny_model: Any) -> None:
    plain = tiny_model(**batch()).logits
    with steereval.steering(tiny_model, {1: fitted()}, 0.0) as model:
        assert torch.equal(model(**batch()).logits, plain)


def test_layers_count_from_the_end(tiny_model: Any) -> None:
    blocks = tiny_model.config.num_hidden_layers
    with steereval.steering(tiny_model, {-1: fitted()}, 4.0) as model:
        last = model(**batch()).logits
    with steereval.steering(tiny_model, {blocks - 1: fitted()}, 4.0) as model:
        assert torch.equal(model(**batch()).logits, last)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (({99: fitted()}, 1.0), ModelError, "out of range"),
        (({}, 1.0), InputError, "no steerer"),
        (({1: fitted()}, 1.0, "everywhere"), InputError, "unknown positions"),
        (({1: fitted()}, 1.0, "all", "displacement"), InputError, "unknown unit"),
        (({1: fitted("angular")}, 1.0, "all", "relative"), InputError, "relative"),
        (({-1: fitted(), 3: fitted()}, 1.0), InputError, "two steerers"),
        (({1.0: fitted()}, 1.0), InputError, "whole number"),
        (({True: fitted()}, 1.0), InputError, "whole number"),
        (({"1": fitted()}, 1.0), InputError, "whole number"),
        (({1: torch.ones(32)}, 1.0), InputError, "place of a steerer"),
        (({1: fitted()}, "much"), InputError, "finite number"),
        (({1: fitted()}, float("nan")), InputError, "finite number"),
    ],
)
def test_arguments_that_cannot_be_meant(
    tiny_model: Any, arguments: Any, error: type[Exception], words: str
) -> None:
    if words == "two steerers":
        arguments = ({-1: fitted(), tiny_model.config.num_hidden_layers - 1: fitted()}, 1.0)
    with pytest.raises(error, match=words), steereval.steering(tiny_model, *arguments):
        pass


def test_what_cannot_be_followed_is_an_error(tiny_model: Any) -> None:
    right = {"input_ids": torch.tensor([[5, 0]]), "attention_mask": torch.tensor([[1, 0]])}
    outside = tiny_model(torch.tensor([[5, 6]]), use_cache=True).past_key_values
    with steereval.steering(tiny_model, {1: fitted()}, 1.0) as model:
        with pytest.raises(CellError, match="padded on the left"):
            model(**right)
        with pytest.raises(CellError, match="outside"):
            model(torch.tensor([[7]]), past_key_values=outside)
        with (
            pytest.raises(InputError, match="already"),
            steereval.steering(model, {0: fitted()}, 1.0),
        ):
            pass


def test_activations_are_those_of_the_blocks(tiny_model: Any) -> None:
    class Tokenizer:
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [5 + len(word) for word in text.split()]}

    texts = ["a bb ccc", "dddd", "e f"]
    blocks = tiny_model.config.num_hidden_layers
    result = steereval.collect_activations(tiny_model, Tokenizer(), texts, [0, -1])
    mean = steereval.collect_activations(tiny_model, Tokenizer(), texts, [0], token="mean")
    assert result.keys() == {0, -1}
    for row, text in enumerate(texts):
        ids = torch.tensor([Tokenizer()(text)["input_ids"]])
        states: dict[int, Tensor] = {}

        def keep(module: Any, args: Any, output: Any, *, states: Any = states) -> None:
            states[len(states)] = output[0] if isinstance(output, tuple) else output

        handles = [block_at(tiny_model, i).register_forward_hook(keep) for i in (0, blocks - 1)]
        tiny_model(ids)
        for handle in handles:
            handle.remove()
        assert torch.allclose(result[0][row], states[0][0, -1], atol=1e-5)
        assert torch.allclose(result[-1][row], states[1][0, -1], atol=1e-5)
        assert torch.allclose(mean[0][row], states[0][0].mean(dim=0), atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "layers", "token"), [([], [0], "last"), ("one", [0], "last"), (["a"], [], "last"),
                                   (["a"], [0], "first")],
)  # fmt: skip
def test_activations_of_nothing(tiny_model: Any, texts: Any, layers: Any, token: Any) -> None:
    with pytest.raises(InputError):
        steereval.collect_activations(tiny_model, lambda text: {}, texts, layers, token)


@pytest.mark.parametrize("method", ["caa", "odesteer", "linact"])
def test_a_steerer_is_saved_and_loaded(tmp_path: Path, method: str) -> None:
    steerer = fitted(method)
    steerer.save(tmp_path / "s", layer=3)
    x = torch.randn(4, 32)
    assert torch.equal(steereval.load_steerer(tmp_path / "s")(x, 2.0), steerer(x, 2.0))


@pytest.mark.real
def test_the_real_model_writes_what_an_evaluation_writes(smollm2: tuple[Any, Any]) -> None:
    model, tokenizer = smollm2
    tokenizer.padding_side = "left"
    positive = steereval.collect_activations(
        model, tokenizer, [f"I love this {x}" for x in "abcdef"], [14]
    )
    negative = steereval.collect_activations(
        model, tokenizer, [f"I hate this {x}" for x in "abcdef"], [14]
    )
    steerer = steereval.fit_steerer("caa", positive[14], negative[14])
    inputs = tokenizer(
        ["The film was", "I think that the weather"], return_tensors="pt", padding=True
    )
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": tokenizer.eos_token_id}
    plain = model.generate(**inputs, **options)
    with steereval.steering(model, {14: steerer}, strength=8.0):
        moved = model.generate(**inputs, **options)
    assert not torch.equal(plain, moved)
    assert torch.equal(model.generate(**inputs, **options), plain)
