"""A user's own contrast set: a JSON Lines file of pairs or of labelled statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from steereval.common.errors import ContrastError, nearest_remedy
from steereval.common.paths import check_path
from steereval.common.reading import Malformed, parse_json
from steereval.tasks.contrast.contrast_set import ContrastSet, Statement
from steereval.tasks.data.keys import normalise, pair_key, question_key

PAIR_KEYS = frozenset({"positive", "negative"})
STATEMENT_KEYS = frozenset({"answer", "label"})
OPTIONAL_KEYS = frozenset({"question", "group"})
FORM = (
    'Each line is {"positive": text, "negative": text} or {"answer": text, "label": 1 or 0}, '
    'with "question" and "group" where there are any.'
)


@dataclass(frozen=True)
class _Line:
    """Where a statement was read, for messages."""

    path: Path
    """The file."""
    number: int
    """Counted from 1."""

    def refuse(self, problem: str, remedy: str = FORM) -> NoReturn:
        raise ContrastError(f"line {self.number} of contrast file {self.path}: {problem}", remedy)


def read_contrast_file(path: Path) -> ContrastSet:
    """The contrast set in the JSON Lines file `path`: one pair or one labelled statement a line.

    A pair is {"positive", "negative"}, a statement {"answer", "label"} with a label of 1 or true
    for the wanted behaviour, 0 or false for its opposite; both take "question" and "group".
    Blank lines are passed over. The set is named after the file and its version after the content.

    Raises ContrastError, naming file, line and remedy, for a file that cannot be read, is empty,
    is not JSON, has unknown or missing keys, texts that are none, one class only, or one text in
    both classes.
    """
    located = [
        (line, statement) for line, row in _rows(path) for statement in _statements_of(line, row)
    ]
    _refuse_one_class(path, [statement for _, statement in located])
    _refuse_contradictions(located)
    contrast = ContrastSet(
        name=path.stem,
        version="",
        description=f"Statements from the file {path.name}.",
        source=f"file {path.name}",
        label_rule="as labelled in the file",
        statements=tuple(statement for _, statement in located),
    )
    return replace(contrast, version=contrast.content_hash[:12])


def _rows(path: Path) -> Iterator[tuple[_Line, Mapping[str, object]]]:
    for number, text in enumerate(_read(path).split("\n"), start=1):
        line = _Line(path, number)
        if text.strip():
            yield line, _parse(line, text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContrastError(
            f"contrast file {path} is not UTF-8 text (byte {error.start})", "Save it as UTF-8."
        ) from error
    except OSError as error:
        raise ContrastError(
            f"contrast file {path} cannot be read: {error.strerror}", check_path(path)
        ) from error


def _parse(line: _Line, text: str) -> Mapping[str, object]:
    try:
        row = parse_json(text)
    except Malformed as error:
        line.refuse(str(error))
    if not isinstance(row, dict):
        line.refuse(f"a JSON object is expected, not {text.strip()[:40]!r}")
    return row


def _statements_of(line: _Line, row: Mapping[str, object]) -> Iterator[Statement]:
    wanted = PAIR_KEYS if PAIR_KEYS & row.keys() else STATEMENT_KEYS
    _check_keys(line, row, wanted)
    question, group = _optional_text(line, row, "question"), _optional_text(line, row, "group")
    if wanted is PAIR_KEYS:
        positive, negative = _text(line, row, "positive"), _text(line, row, "negative")
        key = question_key(question) if question else pair_key(positive, negative)
        yield Statement(question, positive, True, key, group, pair=line.number)
        yield Statement(question, negative, False, key, group, pair=line.number)
    else:
        answer = _text(line, row, "answer")
        key = question_key(question) if question else pair_key(answer)
        yield Statement(question, answer, _label(line, row["label"]), key, group)


def _check_keys(line: _Line, row: Mapping[str, object], wanted: frozenset[str]) -> None:
    known = wanted | OPTIONAL_KEYS
    for unknown in sorted(row.keys() - known):
        line.refuse(f"unknown key {unknown!r}", f"{nearest_remedy(unknown, known)} {FORM}")
    for missing in sorted(wanted - row.keys()):
        line.refuse(f"the key {missing!r} is missing")


def _text(line: _Line, row: Mapping[str, object], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        line.refuse(f"{key!r} must be a text that is not blank, not {value!r}")
    return value


def _optional_text(line: _Line, row: Mapping[str, object], key: str) -> str | None:
    return None if row.get(key) is None else _text(line, row, key)


def _label(line: _Line, value: object) -> bool:
    if value not in (0, 1) or not isinstance(value, int):
        line.refuse(f"'label' must be 1, 0, true or false, not {value!r}")
    return bool(value)


def _refuse_one_class(path: Path, statements: list[Statement]) -> None:
    if not statements:
        raise ContrastError(f"contrast file {path} is empty", FORM)
    if len({statement.positive for statement in statements}) < 2:
        held = "positive" if statements[0].positive else "negative"
        raise ContrastError(
            f"all {len(statements)} statements of contrast file {path} are {held}",
            "Add some of the other class: a steerer is fitted on both.",
        )


def _refuse_contradictions(located: list[tuple[_Line, Statement]]) -> None:
    """Refuse a text that is positive in one line and negative in another, for the same question."""
    first: dict[tuple[str, str], tuple[_Line, bool]] = {}
    for line, statement in located:
        question = normalise(statement.question or "")
        earlier, positive = first.setdefault(
            (question, normalise(statement.answer)), (line, statement.positive)
        )
        if positive is not statement.positive:
            line.refuse(
                f"the text {statement.answer!r} is in both classes (see line {earlier.number})",
                "Remove one of the two.",
            )
