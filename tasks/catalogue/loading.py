"""Loading lm-eval tasks with their data, from packages, a folder, the hub or its local cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steereval.common.errors import TaskError
from steereval.common.text import first_line
from steereval.tasks.benchmarks.mmlu_all import documents as mmlu_all
from steereval.tasks.benchmarks.realtoxicity import documents as realtoxicity
from steereval.tasks.benchmarks.truthfulqa_open import documents as truthfulqa_open
from steereval.tasks.benchmarks.ultrafeedback import documents as ultrafeedback
from steereval.tasks.catalogue.index import manager_for
from steereval.tasks.catalogue.task_group import TaskGroup
from steereval.tasks.catalogue.templates import keep_compiled
from steereval.tasks.data import truthfulqa
from steereval.tasks.data.hub import quick_hub

TRUTHFULQA_CONFIGURATIONS = {
    "truthfulqa_mc1": "multiple_choice",
    "truthfulqa_mc2": "multiple_choice",
    "truthfulqa_gen": "generation",
}
"""lm-eval's tasks on TruthfulQA, and the configuration of the data set each reads."""

BENCHMARKS: dict[str, Callable[[Path | None], Any]] = {
    "mmlu_all": mmlu_all.splits,
    "realtoxicity": realtoxicity.splits,
    "truthfulqa_open": truthfulqa_open.splits,
    "ultrafeedback": ultrafeedback.splits,
}
"""Our tasks on public data, and what reads it from a folder or the hub."""

_CATEGORIES = "steereval_categories"
"""The attribute of a task that holds them."""


def load_tasks(
    names: Sequence[str], data_dir: Path | None, include_hash: str = ""
) -> dict[str, Any]:
    """The `lm_eval.api.task.Task` of each name, or the `TaskGroup`, ready to be evaluated.

    Tasks named *_mini read what this package and the cache folder hold; truthfulqa_* and those of
    BENCHMARKS the folder `data_dir` (else STEEREVAL_DATA, else the hub); all others the hub or its
    local cache. Documents, prompts and scores are lm-eval's own; `categories_of` adds what is known
    of the documents.

    Args:
        names: lm-eval's names.
        data_dir: Folder with public data.
        include_hash: Hash of the `include_path` that they come from; empty for lm-eval's and ours.

    Raises:
        UnknownNameError: There is no such name; the nearest one is named.
        TaskError: A package or data that a task needs is missing, within seconds where there is no
            network, or a file of the user's own task fails.
    """
    keep_compiled()
    return {name: _load(name, data_dir, include_hash) for name in names}


def categories_of(task: Any) -> Mapping[str, str]:
    """The categories of a loaded task's questions, by `question_key`, which its documents lack.

    Those of truthfulqa_mc1 and truthfulqa_mc2; empty for other tasks. A field in the documents
    would give them another hash than lm-eval's, and with it other items.
    """
    return getattr(task, _CATEGORIES, {})


def _load(name: str, data_dir: Path | None, include_hash: str) -> Any:
    manager = manager_for(name, include_hash)
    if include_hash:
        return _load_own(manager, name)
    if name in TRUTHFULQA_CONFIGURATIONS:
        return _load_truthfulqa(manager, name, data_dir)
    if name in BENCHMARKS:
        return _with_data(manager, name, lambda **_: BENCHMARKS[name](data_dir))
    return _load_any(manager, name)


def _load_any(manager: Any, name: str) -> Any:
    import datasets

    try:
        with quick_hub(), _without_metadata_hint():
            loaded = manager.load(name)
    except ImportError as error:
        raise TaskError(
            f"task {name!r} needs a package that is not installed: {first_line(error)}",
            "Install it and start again.",
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise TaskError(
            f"the data of task {name!r} is not available: {first_line(error)}",
            "Make the hub reachable, or load the task once where it is, with the same HF_HOME.",
        ) from error
    tasks = loaded["tasks"]
    return TaskGroup(name, tasks) if name in loaded.get("groups", {}) else tasks[name]


def _load_own(manager: Any, name: str) -> Any:
    """A task of the user's own, whose Python code may raise anything."""
    try:
        return _load_any(manager, name)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(
            f"task {name!r} of include_path cannot be loaded: {type(error).__name__}: "
            f"{first_line(error)}",
            "Correct its files; `lm_eval --tasks NAME --include_path FOLDER` shows the traceback.",
        ) from error


def _load_truthfulqa(manager: Any, name: str, data_dir: Path | None) -> Any:
    task = _with_data(manager, name, _truthfulqa_source(name, data_dir))
    if TRUTHFULQA_CONFIGURATIONS[name] == "multiple_choice":
        setattr(task, _CATEGORIES, truthfulqa.categories(data_dir))
    return task


def _with_data(manager: Any, name: str, source: Callable[..., Any]) -> Any:
    """lm-eval's own task with another data set, given the way a group overrides its members."""
    member = {"task": name, "custom_dataset": source}
    with _without_metadata_hint():
        return manager.load({"group": "steereval", "task": [member]})["tasks"][name]


def _truthfulqa_source(name: str, data_dir: Path | None) -> Callable[..., Any]:
    def load(**_: object) -> Any:
        import datasets

        rows = _truthfulqa_documents(TRUTHFULQA_CONFIGURATIONS[name], data_dir)
        return datasets.DatasetDict({"validation": datasets.Dataset.from_list(rows)})

    return load


def _truthfulqa_documents(configuration: str, data_dir: Path | None) -> list[dict[str, Any]]:
    if configuration == "generation":
        return truthfulqa.generation_rows(data_dir)
    return truthfulqa.multiple_choice_rows(data_dir)


@contextmanager
def _without_metadata_hint() -> Iterator[None]:
    """Keep back lm-eval's hint, for every task with its own data, that it takes --metadata."""
    logger = logging.getLogger("lm_eval.api.task")
    logger.addFilter(_is_no_metadata_hint)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_metadata_hint)


def _is_no_metadata_hint(record: logging.LogRecord) -> bool:
    return "Custom kwargs can be passed" not in record.getMessage()
