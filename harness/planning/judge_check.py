"""Checks that the judges of a grid can be loaded, before any request is answered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from steereval.common.errors import GridError, InputError, ModelError
from steereval.common.text import first_line
from steereval.harness.assets import fetch, resolve_model
from steereval.harness.config.grid import Grid, JudgeSpec
from steereval.harness.planning.task_cards import claimed
from steereval.tasks.data.hub import hub_in_reach, quick_hub
from steereval.tasks.judges.registry import get_judge, judged_metrics, scorer_of
from steereval.tasks.scorers.perspective import KEY
from steereval.tasks.scorers.profanity import ASSET

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of which a model has one."""


def check_judges(grid: Grid, say: Callable[[str], None]) -> None:
    """Raise ModelError or InputError for a judge that cannot be loaded; nothing large is loaded."""
    for judge in dict.fromkeys(judge for task in grid.tasks for judge in task.judges):
        scorer = scorer_of(get_judge(judge.name), judge.scorer)
        if scorer.engine == "perspective":
            _check_key()
        elif scorer.engine == "profanity":
            fetch(ASSET, say)
        elif not judge.is_stand_in:
            location = resolve_model(judge.model or scorer.model, say)
            _check_model(judge, location, scorer.engine == "reward")


def check_no_stand_in(grid: Grid) -> None:
    """Raise GridError for a primary metric, or one that chooses strengths, of a stand-in."""
    select = grid.select
    for task in grid.tasks:
        all_of_them = judged_metrics([judge.name for judge in task.judges], True)
        unmeasured = all_of_them.keys() - claimed(task)
        chosen = select.metric if select and select.task in (None, task.name) else None
        for metric in (task.metric, chosen):
            if metric in unmeasured:
                stand_ins = ", ".join(judge.name for judge in task.judges if judge.is_stand_in)
                raise GridError(
                    f"the metric {metric!r} of task {task.name} is not measured, since "
                    f"{stand_ins} is a stand-in",
                    "Choose another metric, or a real judge.",
                )


def _check_key() -> None:
    if not os.environ.get(KEY):
        raise InputError(
            f"the judge toxicity asks the Perspective API, and {KEY} is not set",
            "Set it to a key, or choose `scorer: toxic_bert` or `profanity`.",
        )


def _check_model(judge: JudgeSpec, location: str, chats: bool) -> None:
    try:
        with quick_hub():
            # Without a word on code of the model's own Transformers would ask at the terminal.
            safe = {"revision": judge.revision, "trust_remote_code": False}
            AutoConfig.from_pretrained(location, **safe)
            tokenizer = AutoTokenizer.from_pretrained(location, **safe)
            has_weights = _has_weights(location, judge.revision)
    except (OSError, ValueError, KeyError) as error:
        raise _unreachable(judge, location, first_line(error)) from error
    if not has_weights:
        raise _unreachable(judge, location, "it has no weights")
    if chats and not tokenizer.chat_template:
        raise _unreachable(judge, location, "its tokenizer has no chat template")


def _unreachable(judge: JudgeSpec, location: str, why: str) -> ModelError:
    return ModelError(
        f"the judge {judge.name} ({location}) cannot be loaded: {why}",
        "Make the hub reachable, give `model: FOLDER`, or remove the judge from the task.",
    )


def _has_weights(location: str, revision: str) -> bool:
    """Whether the folder, the hub or its local cache has weights of the model."""
    if Path(location).is_dir():
        return any((Path(location) / name).is_file() for name in WEIGHTS)
    from huggingface_hub import HfApi, try_to_load_from_cache

    if hub_in_reach():
        return bool({*HfApi().list_repo_files(location, revision=revision)} & {*WEIGHTS})
    paths = (try_to_load_from_cache(location, name, revision=revision) for name in WEIGHTS)
    return any(isinstance(path, str) for path in paths)
