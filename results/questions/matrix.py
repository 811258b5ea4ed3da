"""Measured values as matrices items × fit seeds, which pair by item and by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from steereval.common.errors import StoreError
from steereval.results.stats.effect import Floats, Labels

UNSEEDED = -1
"""In place of a fit seed where nothing was drawn."""


@dataclass(frozen=True)
class Matrix:
    """One quantity of one setting over items × fit seeds."""

    values: Floats
    """[items, seeds]; NaN where it was not measured, which only ragged ones have."""

    items: pd.Index[str]
    """[items], their ids."""

    seeds: tuple[int, ...]
    """The fit seeds, UNSEEDED where nothing was drawn."""

    clusters: Labels | None
    """[items], codes of their questions; None where each item is a cluster of its own."""

    labels: npt.NDArray[np.bool_] | None
    """[items], whether they are of the wanted class; None where that is unknown."""

    def over(self, other: Matrix, missing: float) -> Floats:
        """Its values at the items and seeds of `other`; `missing` where it has none."""
        place = self.items.get_indexer(other.items)
        values = np.full(other.values.shape, missing)
        for column, seed in enumerate(other.seeds):
            if seed in self.seeds:
                column_values = self.values[:, self.seeds.index(seed)]
                there = (place >= 0) & ~np.isnan(column_values[place])
                values[:, column] = np.where(there, column_values[place], missing)
        return values

    def minus(self, other: Matrix) -> Matrix | None:
        """self - other over the items and seeds of both; an unseeded side is broadcast.

        None if they share no item or no seed.
        """
        a, b = self, other
        if a.seeds == (UNSEEDED,) != b.seeds:
            a = a._broadcast(b.seeds)
        elif b.seeds == (UNSEEDED,) != a.seeds:
            b = b._broadcast(a.seeds)
        items = a.items.intersection(b.items)
        seeds = tuple(seed for seed in a.seeds if seed in b.seeds)
        if not len(items) or not seeds:
            return None
        a, b = a._take(items, seeds), b._take(items, seeds)
        return Matrix(a.values - b.values, items, seeds, a.clusters, a.labels)

    def only(self, items: pd.Index[str]) -> Matrix:
        """The same with those of its items that are in `items`."""
        return self._take(self.items.intersection(items), self.seeds)

    def _broadcast(self, seeds: tuple[int, ...]) -> Matrix:
        values = np.repeat(self.values, len(seeds), axis=1)
        return Matrix(values, self.items, seeds, self.clusters, self.labels)

    def _take(self, items: pd.Index[str], seeds: tuple[int, ...]) -> Matrix:
        rows = self.items.get_indexer(items)
        columns = [self.seeds.index(seed) for seed in seeds]
        return Matrix(
            self.values[rows][:, columns],
            items,
            seeds,
            None if self.clusters is None else self.clusters[rows],
            None if self.labels is None else self.labels[rows],
        )


def matrix_of(rows: pd.DataFrame, is_ragged: bool = False) -> Matrix | None:
    """The matrix of rows of one quantity and setting; None if it has no item.

    Items that a seed lacks are left out, unless it `is_ragged`. Two rows for one item and seed are
    a StoreError.
    """
    seeds, column = np.unique(rows["fit_seed"].to_numpy(), return_inverse=True)
    names, first, row = np.unique(
        rows["item_id"].to_numpy().astype(str), return_index=True, return_inverse=True
    )
    if len(np.unique(row * len(seeds) + column)) < len(row):
        raise StoreError(
            f"the diagnosis has two values of {rows['quantity'].iloc[0]} of "
            f"{rows['method'].iloc[0]} for one item and fit seed",
            "Delete the run's folder diagnosis/ and diagnose again.",
        )
    values = np.full((len(names), len(seeds)), np.nan)
    values[row, column] = rows["value"].to_numpy()
    missing = np.isnan(values)
    whole = ~(missing.all(axis=1) if is_ragged else missing.any(axis=1))
    if not whole.any():
        return None
    items = pd.Index(names[whole], dtype=object)
    clusters, labels = (rows[name].to_numpy()[first[whole]] for name in ("cluster_id", "label"))
    return Matrix(
        values[whole],
        items,
        tuple(int(seed) for seed in seeds),
        _clusters(clusters, items),
        None if pd.isna(labels).any() else labels.astype(np.bool_),
    )


def _clusters(names: npt.NDArray[np.object_], items: pd.Index[str]) -> Labels | None:
    """Codes of clusters; an item without one is a cluster of its own."""
    labels = [f"item {i}" if pd.isna(n) else f"={n}" for n, i in zip(names, items, strict=True)]
    codes = np.unique(labels, return_inverse=True)[1].astype(np.intp)
    return codes if int(codes.max()) + 1 < len(codes) else None
