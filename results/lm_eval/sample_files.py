"""Files of `lm_eval --log_samples`, read without lm-eval.

    samples_TASK_DATE.jsonl   a line for each document and filter
    results_DATE.json         next to it: versions, the model, its arguments

A file is read whole or refused: an arm that silently lacks a few lines would be compared on other
items than it says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steereval.common.errors import InputError
from steereval.common.reading import parse_json
from steereval.common.secrets import redacted_data
from steereval.results.lm_eval.samples import SUBTASK

_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
_HASH = re.compile(r"[0-9a-f]{64}")
_NEEDED: Mapping[str, type] = {
    "doc_id": int, "doc_hash": str, "filter": str, "metrics": list, "arguments": dict,
    "resps": list,
}  # fmt: skip

_CONFIG = (
    *("model_dtype", "model_revision", "model_sha", "batch_size", "device", "limit"),
    *("gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed"),
)
"""Parts of lm-eval's configuration that a record keeps, under lm-eval's own names."""


@dataclass(frozen=True)
class SampleFile:
    """One task's samples, in the form in which lm-eval holds them while it runs."""

    path: Path
    """Where they were read."""
    task: str
    """The task in the file's name."""
    sha256: str
    """Of the file."""
    samples: tuple[Mapping[str, Any], ...]
    """Ordered by filter and document, whatever process of lm-eval wrote them first."""
    settings: Mapping[str, Any]
    """Content of the results file in the same folder; empty if there is none."""

    @property
    def model(self) -> str | None:
        """lm-eval's name of the model: a folder, or a name on the hub."""
        name = self.settings.get("model_name")
        return None if name is None else str(name)

    @property
    def directions(self) -> dict[str, bool]:
        """For each metric whether higher is better, as far as lm-eval knew."""
        known = (self.settings.get("higher_is_better") or {}).get(self.task) or {}
        return {metric: bool(better) for metric, better in known.items() if better is not None}

    @property
    def provenance(self) -> dict[str, Any]:
        """Fields of a record about the origin of the samples."""
        config = self.settings.get("config") or {}
        of_task = {
            name: (self.settings.get(key) or {}).get(self.task)
            for name, key in (("task_version", "versions"), ("num_fewshot", "n-shot"))
        }
        return {
            "file": self.path.name,
            "sha256": self.sha256,
            "lm_eval": self.settings.get("lm_eval_version"),
            "transformers": self.settings.get("transformers_version"),
            "model_type": config.get("model"),
            "model_args": redacted_data(config.get("model_args")),
            "chat_template_sha256": self.settings.get("chat_template_sha"),
            **of_task,
            **{name: config.get(name) for name in _CONFIG},
        }


def read_sample_file(path: Path) -> SampleFile:
    """The samples in `path`, with the results file of lm-eval.

    Raises InputError for a file that cannot be read, is not named as lm-eval names its samples,
    or has a line that is not a sample, with the line's number.
    """
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise InputError(
            f"{path} is not named as lm-eval names its samples",
            "Give samples_TASK_DATE.jsonl, which `lm_eval --log_samples --output_path ...` writes.",
        )
    data = _bytes_of(path)
    samples = list(_samples(path, data))
    if not samples:
        raise InputError(f"{path} holds no samples", "Run lm-eval with --log_samples again.")
    _check_distinct(path, samples)
    filters = {
        name: place for place, name in enumerate(dict.fromkeys(s["filter"] for s in samples))
    }
    ordered = sorted(samples, key=lambda s: (filters[s["filter"]], s["doc_id"]))
    settings = _settings(path, named["date"])
    return SampleFile(
        path, named["task"], hashlib.sha256(data).hexdigest(), tuple(ordered), settings
    )  # fmt: skip


def joined_by_group(
    files: Sequence[SampleFile], groups: Mapping[str, Sequence[str]]
) -> list[SampleFile]:
    """The samples of a group in one, since lm-eval writes a file for each of its subtasks.

    Args:
        files: Sample files.
        groups: {group: its subtasks} of a run.

    Returns:
        The files of other tasks as they are, and one for each group and moment, named after the
        group, whose samples say of which subtask they are.
    """
    group_of = {subtask: group for group, subtasks in groups.items() for subtask in subtasks}
    parts: dict[tuple[str, str], list[SampleFile]] = {}
    for file in files:
        named = _NAME.fullmatch(file.path.name)
        date = "" if named is None else named["date"]
        parts.setdefault((group_of.get(file.task, file.task), date), []).append(file)
    return [
        _joined(group, part) if group in groups else file
        for (group, _), part in parts.items()
        for file in (part[:1] if group in groups else part)
    ]


def _joined(group: str, files: Sequence[SampleFile]) -> SampleFile:
    """The files of a group's subtasks as one."""
    samples = [{**each, SUBTASK: file.task} for file in files for each in file.samples]
    sums = hashlib.sha256("".join(sorted(file.sha256 for file in files)).encode()).hexdigest()
    return SampleFile(files[0].path, group, sums, tuple(samples), files[0].settings)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", "Check the path."
        ) from error


def _samples(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    # Not splitlines(): lm-eval leaves characters such as U+2028 as they are within a line.
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield _sample(parse_json(line))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise InputError(
                    f"line {number} of {path} is not a sample of lm-eval: {error}",
                    "Run lm-eval 0.4.8 or newer again with --log_samples; a part of the samples "
                    "is not imported.",
                ) from error


def _sample(line: Any) -> dict[str, Any]:
    """A line in the form that lm-eval had before it wrote it. Raises ValueError and the like."""
    if not isinstance(line, dict):
        raise TypeError("it is not an object")
    for name, kind in _NEEDED.items():
        if name not in line:
            raise ValueError(f"it has no {name!r}")
        if not isinstance(line[name], kind):
            raise TypeError(f"its {name!r} is {line[name]!r}")
    if not _HASH.fullmatch(line["doc_hash"]):
        raise ValueError(f"its doc_hash is {line['doc_hash']!r}")
    for metric in line["metrics"]:
        if metric not in line:
            raise ValueError(f"it has no value of the metric {metric!r}")
        if line["metrics"].count(metric) > 1:
            raise ValueError(f"it names the metric {metric!r} twice")
    arguments = [_arguments(line["arguments"], i) for i in range(len(line["arguments"]))]
    if not arguments or len(arguments) != len(line["resps"]):
        raise ValueError(f"it has {len(arguments)} requests and {len(line['resps'])} answers")
    answers = [
        [_answer(arguments_of, given[0])]
        for arguments_of, given in zip(arguments, line["resps"], strict=True)
    ]
    return line | {"arguments": arguments, "resps": answers}


def _arguments(written: Mapping[str, Any], index: int) -> list[Any]:
    """The arguments of one request: lm-eval writes lists as numbered keys."""
    values = written[f"gen_args_{index}"]
    return [values[f"arg_{place}"] for place in range(len(values))]


def _answer(arguments: Sequence[Any], written: Any) -> Any:
    """The answer to a request: lm-eval writes numbers and truth values as text.

    A text is a generation if its request has options, else the log-likelihood of a whole text.
    """
    if isinstance(written, list):
        value, greedy = written
        return float(value), {"True": True, "False": False}[greedy]
    is_generation = len(arguments) > 1 and isinstance(arguments[1], dict)
    return str(written) if is_generation else float(written)


def _check_distinct(path: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    seen: set[tuple[str, int]] = set()
    for sample in samples:
        key = (sample["filter"], sample["doc_id"])
        if key in seen:
            raise InputError(
                f"{path} holds document {sample['doc_id']} twice under the filter "
                f"{sample['filter']!r}",
                "It was put together from several files; import each by itself.",
            )
        seen.add(key)


def _settings(path: Path, date: str) -> dict[str, Any]:
    """The results file of the same moment: results_DATE.json, or NAME_DATE.json."""
    results_files = sorted(path.parent.glob(f"*_{date}.json"))
    if not results_files:
        return {}
    try:
        settings = parse_json(results_files[0].read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{results_files[0]} cannot be read: {error}", "Run lm-eval again."
        ) from error
    if not isinstance(settings, dict):
        raise InputError(f"{results_files[0]} holds no results of lm-eval", "Run lm-eval again.")
    return settings
