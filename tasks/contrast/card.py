"""The card of a contrast set: its counts, how its classes differ in length, and warnings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steereval.tasks.data.keys import normalise

if TYPE_CHECKING:
    from steereval.tasks.contrast.contrast_set import ContrastSet, Statement

LENGTH_AUC_LIMIT = 0.7
"""Above this, length alone separates the classes well enough to be what a steerer learns."""
IMBALANCE_LIMIT = 3.0
"""Above this ratio of the class sizes, the card warns."""


def card_of(contrast: ContrastSet) -> dict[str, Any]:
    """The card as plain JSON data.

    Lengths are in characters of the answer. `length_auc` is the probability that a positive
    statement is longer than a negative one, ties counted one half: 0.5 when length says nothing.
    `n_duplicates` counts statements that repeat an earlier one of the same key and class.
    """
    lengths = {label: _lengths(contrast.statements, label) for label in (True, False)}
    card: dict[str, Any] = {
        "name": contrast.name,
        "version": contrast.version,
        "content_hash": contrast.content_hash,
        "description": contrast.description,
        "source": contrast.source,
        "label_rule": contrast.label_rule,
        "n_folds": contrast.n_folds,
        **_counts(contrast),
        "mean_length_positive": float(lengths[True].mean()),
        "mean_length_negative": float(lengths[False].mean()),
        "length_auc": length_auc(lengths[True], lengths[False]),
    }
    return {**card, "warnings": _warnings(card)}


def length_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """P(positive > negative) + P(equal)/2 over all pairs of two samples [n+] and [n-]."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / 2 / len(ordered))


def _lengths(statements: tuple[Statement, ...], positive: bool) -> NDArray[np.float64]:
    return np.array([len(s.answer) for s in statements if s.positive is positive], dtype=np.float64)


def _counts(contrast: ContrastSet) -> dict[str, int]:
    statements = contrast.statements
    members = Counter(s.pair for s in statements if s.pair is not None)
    groups = {s.group for s in statements if s.group is not None}
    grouped = {s.key for s in statements if s.group is not None}
    texts = {(s.key, s.positive, normalise(s.answer)) for s in statements}
    return {
        "n_positive": sum(s.positive for s in statements),
        "n_negative": sum(not s.positive for s in statements),
        "n_keys": len(contrast.keys),
        "n_pairs": sum(count == 2 for count in members.values()),
        "n_duplicates": len(statements) - len(texts),
        "n_groups": len(groups),
        "n_keys_without_group": len(contrast.keys) - len(grouped),
    }


def _warnings(card: dict[str, Any]) -> list[str]:
    auc = max(card["length_auc"], 1 - card["length_auc"])
    sizes = card["n_positive"], card["n_negative"]
    ungrouped, keys = card["n_keys_without_group"], card["n_keys"]
    checks = [
        (auc > LENGTH_AUC_LIMIT, f"length alone separates the classes: AUC {auc:.2f}"),
        (
            max(sizes) > IMBALANCE_LIMIT * min(sizes),
            f"the classes are unbalanced: {sizes[0]} positive, {sizes[1]} negative",
        ),
        (card["n_duplicates"] > 0, f"{card['n_duplicates']} statements repeat another one"),
        (0 < ungrouped < keys, f"{ungrouped} of {keys} keys have no group, though others have"),
    ]
    return [text for applies, text in checks if applies]
