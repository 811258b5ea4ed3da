"""Contrast sets from public data: preferences of UltraFeedback, comments of Jigsaw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from pathlib import Path

from steereval.common.errors import ContrastError, TaskError
from steereval.tasks.benchmarks.ultrafeedback.documents import pairs
from steereval.tasks.contrast.contrast_set import ContrastSet, Statement
from steereval.tasks.data.keys import pair_key, question_key
from steereval.tasks.data.public_data import PublicData, Row, by_hash, documents

JIGSAW = PublicData(
    folder="jigsaw",
    hub="thesofakillers/jigsaw-toxic-comment-classification-challenge",
    files={"train": ("train.csv",)},
)
"""Comments of Wikipedia's talk pages with their labels; from Kaggle, or from this copy of it."""
LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""The columns that are 1 where the comment is so."""
COMMENTS = 5_000
"""How many comments of each class steerers are fitted to."""

Loader = Callable[[Path | None], ContrastSet]


def _as_contrast(load: Loader) -> Loader:
    """`load` with errors of the data as errors of the contrast set."""

    @wraps(load)
    def loaded(data_dir: Path | None) -> ContrastSet:
        try:
            return load(data_dir)
        except TaskError as error:
            raise ContrastError(error.problem, error.remedy) from error

    return loaded


@_as_contrast
def ultrafeedback(data_dir: Path | None) -> ContrastSet:
    """Preferred against rejected answers. Raises ContrastError when they are not available."""
    rows = pairs(data_dir)
    return ContrastSet(
        name="ultrafeedback",
        version=f"pairs-{len(rows)}",
        description="UltraFeedback's prompts, each with a preferred and a rejected answer.",
        source="HuggingFaceH4/ultrafeedback_binarized, train_prefs, the first by their hash",
        label_rule="the answer with the higher score is positive, the other one negative",
        statements=tuple(_preferences(rows)),
    )


@_as_contrast
def jigsaw(data_dir: Path | None) -> ContrastSet:
    """Clean against toxic comments. Raises ContrastError when they are not available, or when a
    class has none.

    Pairs are of chance, the i-th clean comment with the i-th toxic one by their hashes, since no
    two comments belong together; a pair is drawn into a subset as a whole.
    """
    rows = documents(JIGSAW, JIGSAW.rows("train", data_dir), _labelled)
    clean, toxic = (_chosen(rows, label) for label in (False, True))
    if not (clean and toxic):
        raise TaskError(
            f"{JIGSAW.folder}/train.csv has {len(clean)} clean and {len(toxic)} toxic comments",
            "Give the whole file as it is distributed.",
        )
    return ContrastSet(
        name="jigsaw",
        version=f"{len(clean)}-{len(toxic)}",
        description="Clean and toxic comments of Wikipedia's talk pages.",
        source="Jigsaw's Toxic Comment Classification Challenge, train.csv, the first by their "
        "hash",
        label_rule="comments without any label are positive, those labelled toxic negative; "
        "paired by chance",
        statements=tuple(_comments(clean, toxic)),
    )


def _preferences(rows: list[dict[str, str]]) -> Iterator[Statement]:
    for number, pair in enumerate(rows):
        question, key = pair["question"], question_key(pair["question"])
        yield Statement(question, pair["chosen"], True, key, None, number)
        yield Statement(question, pair["rejected"], False, key, None, number)


def _labelled(row: Row) -> Row | None:
    """The comment and whether it is toxic; None for an empty one, and for one that is not called
    toxic but has another label."""
    text, labels = row["comment_text"].strip(), [int(row[name]) for name in LABELS]
    if not text or (any(labels) and not labels[0]):
        return None
    return {"text": text, "toxic": bool(labels[0])}


def _chosen(rows: list[Row], toxic: bool) -> list[str]:
    comments = by_hash((row for row in rows if row["toxic"] is toxic), "text")
    return [row["text"] for row in islice(comments, COMMENTS)]


def _comments(clean: list[str], toxic: list[str]) -> Iterator[Statement]:
    size = max(len(clean), len(toxic))
    for number in range(size):
        key = pair_key("jigsaw", str(number))
        pair = number if number < min(len(clean), len(toxic)) else None
        for texts, positive in ((clean, True), (toxic, False)):
            if number < len(texts):
                yield Statement(None, texts[number], positive, key, None, pair)
