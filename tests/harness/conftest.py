"""The embedded model, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from steereval.assets import fetch
from steereval.steered_lm import SteeredLM

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def smollm2_folder() -> str:
    return str(fetch("smollm2-135m", print))


@pytest.fixture(scope="session")
def lm(smollm2_folder: str) -> SteeredLM:
    model = SteeredLM(
        smollm2_folder,
        method="odesteer",
        contrast="truthful-mini",
        answers="best",
        fraction=0.3,
        layer=14,
        strength=20,
        device="cpu",
        dtype="float32",
        batch_size=4,
    )
    model.quiet = True
    return model


@pytest.fixture(scope="session")
def real_truthfulqa() -> Path:
    folder = REPOSITORY.parent / "shared" / "data"
    if not (folder / "truthfulqa").is_dir():
        pytest.skip("the real TruthfulQA files are not beside the repository")
    return folder
