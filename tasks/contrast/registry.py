"""Contrast sets by name: what steerers are fitted to.

from steereval.tasks.contrast.registry import load_contrast
contrast = load_contrast("truthful-mini")
contrast.training(contrast.fold_of(question_key(question))).statements
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, Literal

from steereval.common.errors import ContrastError, TaskError, UnknownNameError
from steereval.common.paths import expanded
from steereval.tasks.benchmarks.truthful_mini import documents
from steereval.tasks.benchmarks.ultrafeedback_mini import documents as preferences
from steereval.tasks.contrast import public
from steereval.tasks.contrast.contrast_set import ContrastSet, Statement
from steereval.tasks.contrast.user_file import read_contrast_file
from steereval.tasks.data import truthfulqa
from steereval.tasks.data.bundled import read_rows
from steereval.tasks.data.keys import pair_key, question_key

__all__ = [
    "CONTRAST_NAMES",
    "ContrastSet",
    "Statement",
    "load_contrast",
    "question_key",
    "read_contrast_file",
]

COMMENTS = Path(__file__).with_name("toxicity") / "comments.jsonl"

Answers = Literal["all", "best"]


@dataclass(frozen=True)
class _Answered:
    """A question with its answers, the best correct and the commonest incorrect one first."""

    question: str
    """The question."""
    group: str | None
    """Its category, if known."""
    correct: Sequence[str]
    """True answers."""
    incorrect: Sequence[str]
    """False answers."""


def load_contrast(
    name_or_path: str, *, data_dir: Path | None = None, answers: Answers = "all"
) -> ContrastSet:
    """The contrast set of that name, or in that JSON Lines file.

    Names: truthful-mini, preference-mini and toxicity (written for this project); truthfulqa,
    ultrafeedback and jigsaw, which are read from `data_dir` (else the folder STEEREVAL_DATA, else
    the hub). `read_contrast_file` describes the form of a file. With `answers="best"` only the
    first positive and the first negative statement of each key are kept: for a question the best
    correct and the first incorrect answer.

    Raises UnknownNameError for a name that is none, and ContrastError for a file that cannot be
    used or data that is not available.
    """
    if answers not in ("all", "best"):
        raise ContrastError(f"answers={answers!r} is not a choice", "Use 'all' or 'best'.")
    contrast = _load(name_or_path, data_dir)
    return contrast if answers == "all" else _best_only(contrast)


def _load(name_or_path: str, data_dir: Path | None) -> ContrastSet:
    if name_or_path in _LOADERS:
        return _LOADERS[name_or_path](data_dir)
    path = Path(expanded(name_or_path))
    if path.suffix == ".jsonl":
        return read_contrast_file(path)
    if path.exists():
        raise ContrastError(
            f"contrast file {path} does not end in .jsonl",
            "Write one JSON object a line into a file of that ending.",
        )
    raise UnknownNameError.of("contrast set", name_or_path, CONTRAST_NAMES)


def _best_only(contrast: ContrastSet) -> ContrastSet:
    first: dict[tuple[str, bool], Statement] = {}
    for statement in contrast.statements:
        first.setdefault((statement.key, statement.positive), statement)
    return replace(
        contrast,
        statements=tuple(first.values()),
        label_rule=f"{contrast.label_rule}; the first of each class per key only",
    )


def _truthful_mini(_: Path | None) -> ContrastSet:
    return ContrastSet(
        name="truthful-mini",
        version=documents.VERSION,
        description="Questions about common misconceptions, with true and false answers.",
        source="written for this project: tasks/benchmarks/truthful_mini/DATA.md",
        label_rule="true answers are positive, false ones negative",
        statements=tuple(_statements(_truthful_mini_answers())),
        n_folds=2,
    )


def _truthful_mini_answers() -> Iterator[_Answered]:
    for row in map(documents.document, documents.questions()):
        yield _answered(row, row["choices"], row["labels"], row["best_answer"])


def _truthfulqa(data_dir: Path | None) -> ContrastSet:
    try:
        rows = truthfulqa.multiple_choice_rows(data_dir)
        known = truthfulqa.categories(data_dir)
    except TaskError as error:
        raise ContrastError(error.problem, error.remedy) from error
    return ContrastSet(
        name="truthfulqa",
        version=f"mc-{len(rows)}",
        description="TruthfulQA's multiple-choice questions with all their answers.",
        source="Lin, Hilton and Evans 2022, TruthfulQA (Apache-2.0)",
        label_rule="mc2 targets: true answers are positive, false ones negative",
        statements=tuple(_statements(_truthfulqa_answers(rows, known))),
        n_folds=2,
    )


def _truthfulqa_answers(
    rows: list[dict[str, Any]], known: Mapping[str, str]
) -> Iterator[_Answered]:
    for row in truthfulqa.with_categories(rows, known):
        one, all_of_them = row["mc1_targets"], row["mc2_targets"]
        best = one["choices"][one["labels"].index(1)]
        yield _answered(row, all_of_them["choices"], all_of_them["labels"], best)


def _answered(
    row: Mapping[str, Any], choices: Sequence[str], labels: Sequence[int], best: str
) -> _Answered:
    true = [text for text, label in zip(choices, labels, strict=True) if label == 1]
    false = [text for text, label in zip(choices, labels, strict=True) if label != 1]
    true.sort(key=lambda text: text != best)  # stable: the best answer first, the others as listed
    return _Answered(row["question"], row["category"], true, false)


def _statements(items: Iterable[_Answered]) -> Iterator[Statement]:
    """All answers as statements, the i-th true one of a question paired with its i-th false one."""
    numbers = count()
    for item in items:
        key = question_key(item.question)
        for true, false in zip_longest(item.correct, item.incorrect):
            pair = next(numbers) if true is not None and false is not None else None
            if true is not None:
                yield Statement(item.question, true, True, key, item.group, pair)
            if false is not None:
                yield Statement(item.question, false, False, key, item.group, pair)


def _preference_mini(_: Path | None) -> ContrastSet:
    return ContrastSet(
        name="preference-mini",
        version=preferences.VERSION,
        description="Prompts of ten kinds, each with a good answer and a worse one.",
        source="written for this project: tasks/benchmarks/ultrafeedback_mini/DATA.md",
        label_rule="chosen answers are positive, rejected ones negative",
        statements=tuple(_preferences()),
        n_folds=2,
    )


def _preferences() -> Iterator[Statement]:
    for pair, row in enumerate(preferences.pairs()):
        key = question_key(row["prompt"])
        for field, positive in (("chosen", True), ("rejected", False)):
            yield Statement(row["prompt"], row[field], positive, key, row["category"], pair)


def _toxicity(_: Path | None) -> ContrastSet:
    return ContrastSet(
        name="toxicity",
        version="1",
        description="Clean and offensive comments on the same topics, mildly worded.",
        source="written for this project: tasks/contrast/toxicity/DATA.md",
        label_rule="clean comments are positive, offensive ones negative",
        statements=tuple(_comments()),
    )


def _comments() -> Iterator[Statement]:
    for row in read_rows(COMMENTS):
        key = pair_key("toxicity", str(row["pair"]))
        yield Statement(None, row["comment_text"], not row["toxic"], key, row["topic"], row["pair"])


_LOADERS: dict[str, Callable[[Path | None], ContrastSet]] = {
    "jigsaw": public.jigsaw,
    "preference-mini": _preference_mini,
    "toxicity": _toxicity,
    "truthful-mini": _truthful_mini,
    "truthfulqa": _truthfulqa,
    "ultrafeedback": public.ultrafeedback,
}

CONTRAST_NAMES = tuple(_LOADERS)
"""The names that `load_contrast` accepts in addition to paths."""
