"""What a run is computed from, in forms that a test can change: weights, data, a branch."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

QUESTIONS = [f"What is number {n}?" for n in range(14)]


def reweigh(folder: Path, scale: float = 1.5) -> None:
    """Other weights in the same files."""
    file = next(folder.glob("*.safetensors"))
    save_file({k: scale * v for k, v in load_file(file).items()}, file, {"format": "pt"})


def write_truthfulqa(folder: Path) -> Path:
    """TruthfulQA's files with a few made-up questions, and the data folder that they lie in."""
    (folder / "truthfulqa").mkdir(parents=True)
    targets = {"Yes.": 1, "No.": 0}
    rows = [{"question": q, "mc1_targets": targets, "mc2_targets": targets} for q in QUESTIONS]
    (folder / "truthfulqa/mc_task.json").write_text(json.dumps(rows))
    with (folder / "truthfulqa/TruthfulQA.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"]
        )
        writer.writerows([["A", f"c{n % 3}", q, "Yes.", "Yes.", "No."] for n, q in
                          enumerate(QUESTIONS)])  # fmt: skip
    return folder


def offline_hub(model: str, folder: Path, patch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A hub out of reach, and its cache in `folder` with the model `org/tiny`.

    Returns:
        A function that moves the branch `main` to a commit, given by the digit that it repeats.
    """
    from huggingface_hub import constants

    repository = folder / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    patch.setattr(constants, "HF_HUB_CACHE", str(folder))

    def moved(digit: str) -> str:
        snapshot = repository / "snapshots" / (digit * 40)
        if not snapshot.exists():
            shutil.copytree(model, snapshot)
        (repository / "refs/main").write_text(digit * 40)
        return digit * 40

    return moved
