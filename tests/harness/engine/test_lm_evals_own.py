"""lm-eval's own tests of its Hugging Face model, run against ours at strength 0.

They are not part of what pip installs: give a checkout of lm-eval's repository in
STEEREVAL_LM_EVAL.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from lm_evals_own.words import sentence
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

CHECKOUT = os.environ.get("STEEREVAL_LM_EVAL")
END = "<|endoftext|>"
PASSED = {
    "models/test_huggingface.py": 8,
    "models/test_bos_handling.py": 45,
    "models/test_max_length.py": 16,
    "test_evaluator.py": 6,
}
"""Files, in the order in which they are run, and the number of their tests: all of them."""
BAD = ("failure", "error", "skipped")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHECKOUT is None, reason="STEEREVAL_LM_EVAL names no checkout of lm-eval"),
]


def word_tokenizer() -> Tokenizer:
    """Byte-level BPE that knows the words of the made-up data sets."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    draw = random.Random(0)
    tokenizer.train_from_iterator((sentence(draw, 50) for _ in range(400)), trainer)
    return tokenizer


def snapshot(cache: Path, name: str) -> Path:
    """The folder in which the hub's cache keeps the model of that name."""
    repository = cache / "hub" / f"models--{name.replace('/', '--')}"
    revision = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")
    return repository / "snapshots" / revision


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)
    fast.save_pretrained(folder)


def save_model(folder: Path, vocabulary: int) -> None:
    config = AutoConfig.for_model(
        "gpt_neox",
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for weights in model.parameters():
            if weights.ndim == 2:  # as they come, attention would hardly matter
                weights.data.normal_(0, 1 / weights.shape[-1] ** 0.5)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub that holds small models under the names that the tests ask for."""
    cache = tmp_path_factory.mktemp("hub")
    tokenizer = word_tokenizer()
    for size in ("14m", "14m-deduped", "70m", "160m"):
        folder = snapshot(cache, f"EleutherAI/pythia-{size}")
        save_model(folder, tokenizer.get_vocab_size())
        save_tokenizer(folder, tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, 0)]
    )
    folder = snapshot(cache, "allenai/OLMo-3-7B-Instruct")
    save_model(folder, tokenizer.get_vocab_size())
    save_tokenizer(folder, tokenizer)
    return cache


@pytest.fixture(scope="module")
def outcomes(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Counter[str]]:
    """How many tests of each file passed, failed or were skipped, run in a copy of the files."""
    assert CHECKOUT is not None
    folder = tmp_path_factory.mktemp("copy")
    for path in ("conftest.py", *PASSED):
        (folder / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(CHECKOUT) / "tests" / path, folder / "tests" / path)
    ours = {
        "HF_HOME": str(hub),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2] / "support"),
    }
    files = [f"tests/{file}" for file in PASSED]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "lm_evals_own.plugin",
         "-p", "no:cacheprovider", "--junitxml", "outcomes.xml", *files],
        cwd=folder, env=os.environ | ours, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(run.stdout[-6000:], run.stderr[-3000:])
    result: dict[str, Counter[str]] = {file: Counter() for file in PASSED}
    for case in ElementTree.parse(folder / "outcomes.xml").iter("testcase"):
        module = case.attrib["classname"].split(".Test")[0].removeprefix("tests.")
        outcome = next((child.tag for child in case if child.tag in BAD), "passed")
        result[f"{module.replace('.', '/')}.py"][outcome] += 1
    return result


@pytest.mark.parametrize("file", PASSED)
def test_they_pass(file: str, outcomes: dict[str, Counter[str]]) -> None:
    assert (outcomes[file]["passed"], outcomes[file]["failure"], outcomes[file]["error"]) == (
        PASSED[file], 0, 0,
    )  # fmt: skip
