"""Contrast sets as pure data: labelled statements, their folds, subsets and content hash."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from steereval.common.errors import ContrastError
from steereval.tasks.contrast.card import card_of


@dataclass(frozen=True)
class Statement:
    """One text that is an example of the wanted behaviour, or of its opposite."""

    question: str | None
    """The question that the statement answers; None for a text that stands alone."""
    answer: str
    """The text itself."""
    positive: bool
    """True for the wanted behaviour."""
    key: str
    """Statements with one key belong together and never straddle a fold."""
    group: str | None = None
    """A category, known for some sets only."""
    pair: int | None = None
    """A positive and a negative statement with the same number are a pair."""


@dataclass(frozen=True)
class ContrastSet:
    """A named and versioned set of positive and negative statements.

    Its content hash and its folds depend on the statements alone, not on how they were loaded.
    """

    name: str
    """The name it is asked for by."""
    version: str
    """Changes whenever the statements of a named set do."""
    description: str
    """One sentence on what it holds."""
    source: str
    """Where the statements come from."""
    label_rule: str
    """The rule by which a statement is positive or negative, in words."""
    statements: tuple[Statement, ...]
    """All statements, in the order of the source."""
    n_folds: int = 1
    """2 where a benchmark is built from the same questions, so that fitting must leave some out."""
    fold_keys: tuple[str, ...] = ()
    """The keys that the folds are formed over, where statements were left out since; () for `keys`.

    A subset keeps its parent's folds, so an item's fold is the same for every subset drawn.
    """

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over the statements as canonical JSON, in their order."""
        rows = [astuple(statement) for statement in self.statements]
        text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The distinct keys, in order of first appearance."""
        return tuple(dict.fromkeys(statement.key for statement in self.statements))

    @cached_property
    def _fold_of_key(self) -> dict[str, int]:
        ranked = sorted(self.fold_keys or self.keys, key=_rank_of_key)
        return {key: rank % self.n_folds for rank, key in enumerate(ranked)}

    def fold_of(self, key: str) -> int | None:
        """The fold that `key` is in; None if the key is unknown or the set has one fold only.

        An item of fold f is scored by a steerer fitted on `training(f)`. The fold is the rank of
        the key's SHA-256 among all keys, modulo the number of folds: balanced within one key, and
        the same in whichever order the statements come.
        """
        return None if self.n_folds == 1 else self._fold_of_key.get(key)

    def training(self, fold: int | None) -> ContrastSet:
        """The statements whose key is not in `fold`; all of them for None.

        Raises ContrastError for a fold that the set does not have.
        """
        if fold is None:
            return self
        if self.n_folds == 1 or not 0 <= fold < self.n_folds:
            known = f"0 to {self.n_folds - 1}" if self.n_folds > 1 else "one fold only (None)"
            raise ContrastError(
                f"contrast set {self.name!r} has no fold {fold}", f"It has {known}."
            )
        return self._keep({key for key in self.keys if self.fold_of(key) != fold})

    def subset(self, fraction: float, seed: int) -> ContrastSet:
        """A share of the keys, 0 < fraction <= 1, drawn without replacement; at least one key.

        The draw depends on `seed` and the content hash alone.
        Raises ContrastError for a fraction outside (0, 1], or when the draw lacks a class.
        """
        if not 0 < fraction <= 1:
            raise ContrastError(
                f"the fraction {fraction!r} of contrast set {self.name!r} cannot be drawn",
                "Give a number above 0 and at most 1.",
            )
        generator = np.random.default_rng(
            np.random.SeedSequence([seed, int(self.content_hash, 16)])
        )
        count = max(1, round(fraction * len(self.keys)))
        drawn = generator.choice(len(self.keys), size=count, replace=False)
        return self._keep({self.keys[index] for index in drawn})

    def parted(self, shares: Sequence[float]) -> tuple[ContrastSet, ...]:
        """The set cut into parts that share no key, of these shares of the keys.

        Like `fold_of` this depends on the keys alone, by another hash, so that the parts have
        nothing to do with the folds. Raises ContrastError if a part lacks a class.
        """
        ranked = sorted(self.keys, key=lambda key: _rank_of_key(f"part {key}"))
        bounds = [round(len(ranked) * sum(shares[:n])) for n in range(len(shares) + 1)]
        return tuple(self._keep(set(ranked[a:b])) for a, b in itertools.pairwise(bounds))

    def card(self) -> dict[str, Any]:
        """The description of this set in a report: see `steereval.tasks.contrast.card`."""
        return card_of(self)

    def _keep(self, keys: Collection[str]) -> ContrastSet:
        statements = tuple(statement for statement in self.statements if statement.key in keys)
        if len({statement.positive for statement in statements}) < 2:
            raise ContrastError(
                f"a part of contrast set {self.name!r} with {len(keys)} of {len(self.keys)} keys "
                "lacks one of the classes",
                "Take a larger part, or a set whose keys hold both classes.",
            )
        return replace(self, statements=statements, fold_keys=self.fold_keys or self.keys)


def _rank_of_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
