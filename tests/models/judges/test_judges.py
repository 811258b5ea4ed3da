"""Judges' models: exact tokens, and numbers that do not depend on what is read beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_tokenizer import VOCABULARY, small_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from steereval.common.errors import ModelError
from steereval.models.judges.classifier import Toxic
from steereval.models.judges.likelihood import Likelihood
from steereval.models.judges.loading import load_engine, stand_in
from steereval.models.judges.reward import Reward
from steereval.models.judges.yes_no import YesNo

PROMPT = "Q: Is it?\nA: No.\nTrue:"
PIECES = ["<unk>", "<s>", "</s>", *(c for c in "QAT:?.\nIsitNoruehlpf▁" if c)]
WORDS = ["▁Q", "▁Is", "▁it", "▁No", "A", "True", "Help", "ful", "▁yes", "▁no", "yes", "no"]


@pytest.fixture(scope="module")
def llama_like() -> Any:
    """A tokenizer of Llama 2's form: pieces with ▁ for a space, which the beginning gets too."""
    known = list(dict.fromkeys([*PIECES, *WORDS]))
    scores = [(piece, 0.0 if i < 3 else -float(20 - len(piece))) for i, piece in enumerate(known)]
    inner = Tokenizer(models.Unigram(scores, unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="module")
def smollm2_tokenizer() -> Any:
    from steereval.harness.assets import fetch

    return AutoTokenizer.from_pretrained(fetch("smollm2-135m", lambda _: None))


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """A tokenizer of SmolLM2's form."""
    return small_tokenizer()


def classifier(labels: int, kind: str = "llama", **changes: Any) -> Any:
    values = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": labels,
        "pad_token_id": 2, **changes,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = AutoConfig.for_model(kind, **values)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.data.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
    return model.requires_grad_(False)


def test_the_tokens_that_a_llama_judge_reads(llama_like: Any, tiny: Callable[..., Any]) -> None:
    judge = YesNo(tiny("llama"), llama_like, 4)
    assert llama_like.convert_ids_to_tokens(judge.whole(PROMPT)) == [
        "<s>", "▁Q", ":", "▁Is", "▁it", "?", "\n", "A", ":", "▁No", ".", "\n", "True", ":"
    ]  # fmt: skip
    answers = [judge.next_token(PROMPT, word) for word in (" yes", " no")]
    assert llama_like.convert_ids_to_tokens(answers) == ["▁yes", "▁no"]


@pytest.mark.real
def test_the_tokens_that_a_byte_level_judge_reads(smollm2_tokenizer: Any) -> None:
    judge = YesNo(None, smollm2_tokenizer, 4)
    assert judge.whole(PROMPT) == [
        65, 42, 1431, 357, 47, 198, 49, 42, 2838, 30, 198, 2787, 42
    ]  # fmt: skip
    assert [judge.next_token(PROMPT, word) for word in (" yes", " no")] == [9805, 787]


def test_a_tokenizer_to_which_both_begin_alike_is_refused(tiny: Callable[..., Any]) -> None:
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "Q": 1}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    judge = YesNo(tiny("llama"), PreTrainedTokenizerFast(tokenizer_object=inner), 4)
    with pytest.raises(ModelError, match="begins ' yes' and ' no' with the same token"):
        judge.score([("Q", "")])


def test_yes_and_no_are_probabilities_of_the_next_token(
    llama_like: Any, tiny: Callable[..., Any]
) -> None:
    model = tiny("llama")
    prompts = [PROMPT, "Q: Is it?\nTrue:", "Help"]
    scores = YesNo(model, llama_like, 2).score([(prompt, "") for prompt in prompts])
    yes, no = llama_like.convert_tokens_to_ids(["▁yes", "▁no"])
    for prompt, (first, second) in zip(prompts, scores, strict=True):
        ids = torch.tensor([llama_like(prompt)["input_ids"]])
        shares = model(input_ids=ids).logits[0, -1].softmax(dim=-1)
        assert first == pytest.approx(float(shares[yes]), abs=1e-6)
        assert second == pytest.approx(float(shares[no]), abs=1e-6)


@pytest.mark.parametrize("architecture_", ["llama", "gpt2"])
def test_a_likelihood_is_the_sum_over_the_text_alone(
    architecture_: str, llama_like: Any, tiny: Callable[..., Any]
) -> None:
    model = tiny(architecture_)
    pairs = [("Q: Is it?", "No."), ("", "True"), ("A", ""), ("Q", "No.\nTrue:")]
    scores = Likelihood(model, llama_like, 3).score(pairs)
    assert scores[2] == (0.0, 0.0)
    for (context, text), (total, count) in zip(pairs, scores, strict=True):
        ids = llama_like(text, add_special_tokens=False)["input_ids"]
        before = llama_like(context, add_special_tokens=False)["input_ids"] or [1]
        assert count == len(ids)
        if ids:
            loss = model(
                input_ids=torch.tensor([before + ids]),
                labels=torch.tensor([[-100] * len(before) + ids]),
            ).loss
            assert total == pytest.approx(-float(loss) * len(ids), abs=1e-4)


def test_what_does_not_fit_the_window_is_left_out(
    llama_like: Any, tiny: Callable[..., Any]
) -> None:
    judge = Likelihood(tiny("llama"), llama_like, 2)
    long = "no" * 400
    (total, count), (_, all_of_it) = judge.score([(long, "No."), ("Q", long)])
    assert count == len(llama_like("No.", add_special_tokens=False)["input_ids"])
    assert total < 0
    assert all_of_it == judge.longest - 1


def test_a_reward_is_that_of_the_chat_alone(byte_level: Any) -> None:
    model = classifier(1)
    pairs = [("Say yes.", "Yes."), ("Say yes.", "No, and I will tell you why."), ("Hi", "Hi")]
    judge = Reward(model, byte_level, 3)
    scores = [reward for (reward,) in judge.score(pairs)]
    for (prompt, response), reward in zip(pairs, scores, strict=True):
        text = byte_level.apply_chat_template(
            [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": response},
            ],
            tokenize=False,
        )
        ids = torch.tensor([byte_level(text)["input_ids"]])
        assert ids[0, 0] == byte_level.bos_token_id
        assert reward == pytest.approx(float(model(input_ids=ids).logits[0, 0]), abs=1e-5)
    assert len(set(scores)) == 3


def test_the_beginning_of_a_text_stands_once(llama_like: Any) -> None:
    llama_like.chat_template = "<s>{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
    judge = Reward(classifier(1, vocab_size=len(llama_like)), llama_like, 2)
    assert judge.chat("Q", "A").count(1) == 1


def test_a_model_that_is_not_a_reward_model_is_refused(llama_like: Any) -> None:
    with pytest.raises(ModelError, match="has 2 outputs"):
        Reward(classifier(2), llama_like, 2).score([("a", "b")])
    llama_like.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Reward(classifier(1), llama_like, 2).score([("a", "b")])


def test_toxic_is_one_label_of_several(byte_level: Any) -> None:
    labels = {0: "toxic", 1: "insult", 2: "threat"}
    model = classifier(3, "bert", id2label=labels, max_position_embeddings=64)
    texts = ["you are kind", "no", "word " * 200]
    scores = Toxic(model, byte_level, 2).score([("ignored", text) for text in texts])
    for text, (probability,) in zip(texts, scores, strict=True):
        ids = torch.tensor([byte_level(text)["input_ids"][:64]])
        probabilities = model(input_ids=ids).logits[0, 0].sigmoid()
        assert probability == pytest.approx(float(probabilities), abs=1e-6)


def test_a_classifier_without_the_label_is_refused(llama_like: Any) -> None:
    with pytest.raises(ModelError, match="labels are label_0, label_1"):
        Toxic(classifier(2), llama_like, 2).score([("", "no")])


@pytest.mark.real
@pytest.mark.parametrize("engine", ["yes_no", "reward", "classifier", "likelihood"])
def test_a_stand_in_has_the_interface_and_is_always_the_same(engine: str) -> None:
    from steereval.harness.assets import fetch

    folder = str(fetch("smollm2-135m", lambda _: None))
    pairs = [("Q: a\nA: b\nTrue:", "c"), ("x", "y z")]
    before = torch.random.get_rng_state()
    first, second = (stand_in(engine, folder, "cpu", 2).engine.score(pairs) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_folder_without_a_model_is_an_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("empty")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_engine("yes_no", str(folder), "main", "auto", "cpu", 2)
