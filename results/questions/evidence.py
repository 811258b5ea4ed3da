"""All that the questions are answered from: rows, manifest, and what was diagnosed."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.questions.fitted import Fitted, fitted_to
from steereval.results.questions.matrix import UNSEEDED, Matrix, matrix_of
from steereval.results.store.diagnosis import DATA, UNSTEERED, Diagnosis
from steereval.results.store.manifest import Manifest, MethodEntry

COMMAND = "`steereval diagnose RUN`"
"""The command that measures the rest."""

BARRIER = "barrier"
"""Trait of a method that follows the gradient of a scalar function h."""

FLOW = "flow"
"""Trait of a method that integrates a vector field."""

CONSTANT = "constant"
"""Trait of a method that moves all activations by one vector."""

OF_SOME = (
    *("rises", "ascends", "stays", "subset_agreement"),
    *("field_cosine", "mean_difference_cosine", "path_stretch", "turning"),
)
"""Quantities that an activation has under one fit seed and not under another: what a steerer
leaves alone takes no steps."""


@dataclass(frozen=True)
class Where:
    """A place that was diagnosed."""

    model: str
    """The model's label."""

    layer: str
    """Its steered blocks."""

    contrast: str
    """Data that steerers were fitted to."""

    unit: str = ""
    """The name of its diagnosis."""

    methods: str = ""
    """Its methods, where another diagnosis is of the same model, layers and contrast set."""

    @property
    def name(self) -> str:
        """As part of a name of tables and figures."""
        text = f"{self.model}-{self.layer}-{self.contrast}"
        return f"{text}-{self.unit}" if self.methods else text

    @property
    def words(self) -> str:
        """In words."""
        layers = "all layers" if self.layer == "all" else f"layer {self.layer}"
        text = f"{self.model}, {layers}, {self.contrast}"
        return f"{text} ({self.methods})" if self.methods else text


@dataclass(frozen=True)
class Setting:
    """A method as it was diagnosed."""

    method: str
    """Its label in the grid."""

    strength: float
    """Its strength."""

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.method} at strength {self.strength:g}"

    @property
    def brief(self) -> str:
        """In few characters, for an axis."""
        return f"{self.method} ({self.strength:g})"

    @property
    def at(self) -> str:
        """Its strength in words."""
        return f"strength {self.strength:g}"


@dataclass(frozen=True)
class Evidence:
    """Content of a run."""

    analysis: Analysis
    """The rows."""

    manifest: Manifest
    """The plan."""

    diagnoses: Mapping[str, Diagnosis]
    """{name: what was measured on activations in one place}; empty if nothing was."""

    @property
    def confidence(self) -> float:
        """Coverage of the intervals."""
        return self.analysis.plan.confidence

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """The diagnoses as a data frame, fit seeds as integers; empty without one."""
        if not self.diagnoses:
            return pd.DataFrame()
        tables = [
            diagnosis.table.append_column(
                "unit", pa.array([name] * diagnosis.table.num_rows, pa.string())
            )
            for name, diagnosis in self.diagnoses.items()
        ]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas(strings_to_categorical=True)
        frame["fit_seed"] = frame["fit_seed"].fillna(UNSEEDED).astype(np.int64)
        return frame

    @functools.cached_property
    def places(self) -> tuple[Where, ...]:
        """Diagnoses, in the order of the grid's models."""
        if self.frame.empty:
            return ()
        units = self.frame[["model", "layer", "contrast", "unit"]].drop_duplicates().astype(str)
        places = [Where(*row) for row in units.itertuples(index=False)]
        known = Counter((place.model, place.layer, place.contrast) for place in places)
        places_with_rows = [
            dataclasses.replace(place, methods=self._methods(place))
            if known[place.model, place.layer, place.contrast] > 1
            else place
            for place in places
        ]
        models = list(self.analysis.models)
        return tuple(
            sorted(
                places_with_rows, key=lambda p: (_index(models, p.model), *dataclasses.astuple(p))
            )
        )

    def _methods(self, where: Where) -> str:
        labels = self.frame.loc[self.frame["unit"] == where.unit, "method"].unique()
        return ", ".join(sorted(set(map(str, labels)) - {UNSTEERED, DATA}, key=self.order))

    def is_first(self, where: Where) -> bool:
        """Whether it is the first place of its model, which carries the facts about the model."""
        return next(place for place in self.places if place.model == where.model) == where

    @functools.cached_property
    def _groups(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.frame.groupby(["unit", "quantity"], observed=True, sort=False)
        return {tuple(map(str, key)): rows for key, rows in groups}  # type: ignore[misc]

    def rows(self, where: Where, quantity: str, **wanted: str | float | None) -> pd.DataFrame:
        """Rows of a quantity whose columns have the values `wanted`, None being null."""
        rows = self._groups.get((where.unit, quantity)) if not self.frame.empty else None
        if rows is None:
            return self.frame.iloc[:0]
        for column, value in wanted.items():
            rows = rows[rows[column].isna() if value is None else rows[column] == value]
        return rows

    def matrices(
        self, where: Where, quantity: str, **wanted: str | float | None
    ) -> dict[Setting, Matrix]:
        """{setting: matrix} of a quantity, in the order of the grid."""
        rows, ragged = self.rows(where, quantity, **wanted), quantity in OF_SOME
        return {
            Setting(str(method), float(strength)): matrix
            for (method, strength), matrix in self.split(rows, "method", "strength", ragged=ragged)
        }

    def split(
        self, rows: pd.DataFrame, *by: str, ragged: bool = False
    ) -> Iterator[tuple[tuple[Any, ...], Matrix]]:
        """(values of `by`, matrix) of the groups of `rows`, methods in the order of the grid."""
        if rows.empty:
            return
        parts = [
            (key, matrix)
            for key, group in rows.groupby(list(by), observed=True, dropna=False)
            if (matrix := matrix_of(group, ragged)) is not None
        ]
        if by[0] == "method":
            parts.sort(key=lambda each: (self.order(str(each[0][0])), each[0][1:]))
        yield from parts

    def settings(self, rows: pd.DataFrame) -> list[Setting]:
        """The settings that `rows` are of, in the order of the grid."""
        pairs = rows[["method", "strength"]].drop_duplicates()
        settings = [Setting(str(m), float(s)) for m, s in pairs.itertuples(index=False)]
        return sorted(settings, key=lambda each: (self.order(each.method), each.strength))

    def order(self, method: str) -> int:
        """The place of a label in the grid; what is no label comes first."""
        if method in (UNSTEERED, DATA):
            return -1
        return _index(list(self.analysis.plan.methods), method)

    def fitted(self, label: str, task: str | None = None) -> Fitted | None:
        """Data that a method was fitted to, as the grid says."""
        return fitted_to(self.manifest.grid, label, task)

    def kind(self, label: str) -> str:
        """The method behind a label."""
        method = self.method(label)
        return method.name if method and method.name else label

    def method(self, label: str) -> MethodEntry | None:
        """The manifest's entry of the method behind a label; None for an imported arm."""
        return self.manifest.methods.get(label)

    def traits(self, label: str) -> frozenset[str]:
        """Traits of the method behind a label.

        The manifest says them; of a run whose manifest does not, what was diagnosed shows whether
        the method has a barrier of its own and a solver.
        """
        method = self.method(label)
        if method is None or method.traits is None:
            return self._shown_traits.get(label, frozenset())
        return frozenset(method.traits)

    @functools.cached_property
    def _shown_traits(self) -> dict[str, frozenset[str]]:
        """{label: traits that the diagnoses show}."""
        if self.frame.empty:
            return {}
        is_own = self.frame["judge"] == "own"
        solved = self.frame["quantity"] == "endpoint_distance"
        shown = {
            BARRIER: set(map(str, self.frame.loc[is_own, "method"].unique())),
            FLOW: set(map(str, self.frame.loc[solved, "method"].unique())),
        }
        labels = set().union(*shown.values())
        return {
            label: frozenset(trait for trait, having in shown.items() if label in having)
            for label in labels
        }

    @property
    def steered(self) -> tuple[str, ...]:
        """Labels of the methods that steer, in the order of the grid."""
        plan = self.analysis.plan
        return tuple(label for label in plan.methods if label != plan.baseline)

    def raises(self, trait: str) -> bool:
        """Whether a method of the grid has `trait`, so that questions about it arise."""
        return any(trait in self.traits(label) for label in self.steered)

    def rank(self, label: str) -> tuple[bool, bool, int]:
        """Subjects of the questions come first: a flow, then a barrier, then the grid's
        order."""
        traits = self.traits(label)
        return FLOW not in traits, BARRIER not in traits, self.order(label)

    def subject(self, where: Where, settings: Sequence[Setting]) -> Setting | None:
        """Of `found` the setting that the question is about; None if there is none.

        The first label by `rank`, at its usual strength.
        """
        labels = {each.method for each in settings if each.method != DATA}
        return self.usual(where, min(labels, key=self.rank), settings) if labels else None

    def usual(self, where: Where, label: str, settings: Sequence[Setting]) -> Setting:
        """The strength that this run chose for `label`, else the largest that was diagnosed."""
        strengths = [each.strength for each in settings if each.method == label]
        chosen = Counter(
            strength
            for row in self.rows_of(where, label)
            if row.n_candidates
            for strength in row.strengths.values()
            if strength in strengths
        )
        best = chosen.most_common(1)
        return Setting(label, best[0][0] if best else max(strengths))

    def usuals(self, where: Where, candidates: Sequence[Setting]) -> list[Setting]:
        """Every label at its usual strength, what the question is about first."""
        labels = dict.fromkeys(each.method for each in candidates if each.method != DATA)
        settings = [self.usual(where, label, candidates) for label in labels]
        subject = self.subject(where, candidates)
        return sorted(settings, key=lambda setting: setting != subject)

    def rows_of(self, where: Where, label: str) -> list[Row]:
        """Primary rows of the leaderboard on target tasks, of a label at that place."""
        return [
            row
            for row in self.analysis.rows
            if (row.model, row.arm.method, row.arm.layer) == (where.model, label, where.layer)
            and row.is_confirmatory
        ]

    def subject_row(self, rows: Sequence[Row]) -> Row | None:
        """Of rows of the leaderboard the first one of the method that the questions are about."""
        return min(rows, key=lambda row: self.rank(row.arm.method), default=None)

    def named(self, where: Where, sentence: str) -> str:
        """`sentence`, with the place before it where there are several."""
        return sentence if len(self.places) < 2 else f"{where.words}: {sentence}"


def _index(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)
