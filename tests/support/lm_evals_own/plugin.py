"""A pytest plugin: lm-eval's own tests of its Hugging Face model, given ours at strength 0 instead.

Without the hub: models are small and have random weights, data sets are made up, and what the tests
expect of Pythia is replaced by what lm-eval's own model answers on the same.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval.api.registry
import lm_eval.models.huggingface
import pytest
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import make_table
from lm_evals_own.words import sentence

from steereval.harness.engine.steered_lm import SteeredLM

ROWS = {"train": 12, "dev": 5, "validation": 3, "test": 12}
EXPECTED = {"MULTIPLE_CH_RES": "loglikelihood", "generate_until_RES": "generate_until",
            "ROLLING_RES": "loglikelihood_rolling"}  # fmt: skip
"""Attributes of Test_HFLM with what the model answers, and the calls that answer it."""


def arc(draw: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "question": sentence(draw, 8) + "?",
        "choices": {"text": [sentence(draw, 1 + k) for k in range(4)], "label": list("ABCD")},
        "answerKey": draw.choice("ABCD"),
    }


def gsm8k(draw: random.Random, number: int) -> dict[str, Any]:
    return {"question": sentence(draw, 9) + "?", "answer": f"{sentence(draw, 6)} #### {number}"}


def mmlu(draw: random.Random, number: int) -> dict[str, Any]:
    choices = [sentence(draw, 2) for _ in "ABCD"]
    return {"question": sentence(draw, 8), "subject": "x", "choices": choices, "answer": number % 4}


def wikitext(draw: random.Random, number: int) -> dict[str, Any]:
    return {"page": f" = {sentence(draw, 2)} = \n {sentence(draw, 60 * (1 + number % 8))} . \n"}


def lambada(draw: random.Random, number: int) -> dict[str, Any]:
    return {"text": sentence(draw, 20 + number)}


MADE_UP = {
    "allenai/ai2_arc": arc,
    "openai/gsm8k": gsm8k,
    "cais/mmlu": mmlu,
    "EleutherAI/wikitext_document_level": wikitext,
    "EleutherAI/lambada_openai": lambada,
}


def load_dataset(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
    """A made-up data set of that name, the same every time."""
    draw = random.Random(f"{path} {name}")
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_list([MADE_UP[path](draw, k) for k in range(count)])
            for split, count in ROWS.items()
        }
    )


@cache
def hf() -> Any:
    """lm-eval's own model."""
    return HFLM("EleutherAI/pythia-70m", device="cpu", dtype="float32")


def pytest_configure() -> None:
    expect_tokens_of_hf(Path("tests/models/test_huggingface.py"))
    datasets.load_dataset = load_dataset
    lm_eval.models.huggingface.HFLM = SteeredLM  # type: ignore[misc]
    original = lm_eval.api.registry.get_model
    lm_eval.api.registry.get_model = lambda name: SteeredLM if name == "hf" else original(name)


def expect_tokens_of_hf(path: Path) -> None:
    """Replace the tokens of Pythia, and what it writes, in the file of the tests."""
    foo, bar = (hf().tok_encode(text) for text in ("foo bar", "bar foo"))
    context = hf().tok_batch_encode(["foo bar"])[0]
    written = hf().tok_decode(hf()._model_generate(context, max_length=10, stop=["\n\n"])[0])
    source = path.read_text(encoding="utf-8")
    for old, new in {
        "[12110, 2534]": str(foo),
        "[2009, 17374]": str(bar),
        r'"foo bar\n<bazhang> !info bar"': repr(written),
    }.items():
        assert old in source, f"the test no longer expects {old}"
        source = source.replace(old, new)
    path.write_text(source, encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith("test_printed_results"):
            write_table(**item.callspec.params)  # type: ignore[attr-defined]
    for tested in {item.cls for item in items if getattr(item, "cls", None)}:  # type: ignore[attr-defined]
        if hasattr(tested, "MULTIPLE_CH_RES"):
            expect_of_hf(tested)
    for module in {item.module for item in items}:  # type: ignore[attr-defined]
        if hasattr(module, "create_hf_mock"):
            module.create_hf_mock = in_place_of_a_mock


class Substitute(SteeredLM):
    """Ours where the tests of tokenisation bind lm-eval's methods to a mock."""

    prefix_token_id: Any = None  # the tests set it


def in_place_of_a_mock(tokenizer: Any, add_bos_token: Any, backend: str = "causal") -> SteeredLM:
    lm = Substitute(hf().model, tokenizer=tokenizer, add_bos_token=add_bos_token, device="cpu")
    lm.backend = backend
    lm.prefix_token_id = tokenizer.bos_token_id
    return lm


def expect_of_hf(tested: Any) -> None:
    """Replace what Test_HFLM expects of Pythia."""
    assert type(tested.LM) is SteeredLM
    requests = {
        "loglikelihood": tested.MULTIPLE_CH,
        "generate_until": tested.generate_until,
        "loglikelihood_rolling": tested.ROLLING,
    }
    for attribute, call in EXPECTED.items():
        answers = getattr(hf(), call)(requests[call])
        setattr(tested, attribute, [a[0] if isinstance(a, tuple) else a for a in answers])


def write_table(task_name: list[str], limit: int, model: str, model_args: str) -> None:
    """The table that test_printed_results compares with, of lm-eval's own model."""
    seeds = dict.fromkeys(
        ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), 0
    )
    lm = HFLM.create_from_arg_string(model_args)
    results = evaluator.simple_evaluate(
        model=lm, tasks=task_name, limit=limit, bootstrap_iters=0, **seeds
    )
    parts = ("-".join(task_name), str(limit), model, re.sub(r"[^a-zA-Z0-9_\-.]", "-", model_args))
    path = Path("tests/testdata") / f"{'_'.join(parts)}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_table(results), encoding="utf-8")
