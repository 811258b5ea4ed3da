"""Measured values as rows of the table of diagnoses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from steereval.common.errors import CellError
from steereval.results.store.diagnosis import DIAGNOSIS_SCHEMA, QUANTITIES


@dataclass(frozen=True)
class Setting:
    """Columns that the rows of a steerer have in common."""

    method: str
    """The method's label."""
    strength: float
    """The strength, as in the grid."""
    fit_seed: int | None
    """The fit seed; None where nothing is drawn."""


@dataclass
class Rows:
    """Collects the rows of one unit."""

    place: dict[str, str]
    """Model, layer and contrast."""
    ids: Sequence[str]
    """Name of each of the n items."""
    clusters: Sequence[str]
    """Cluster of each item."""
    labels: Tensor
    """Whether each item is of the wanted class, bool [n]."""
    _tables: list[pa.Table] = field(default_factory=list)

    def add(
        self,
        quantity: str,
        setting: Setting,
        values: Tensor,
        among: Tensor | None = None,
        **columns: Any,
    ) -> None:
        """A value [n] of each item; of those `among` alone, a mask [n], where it is given.

        `columns` are further columns of the table. Raises CellError for a value that is not finite.
        """
        chosen = torch.arange(len(self.ids))
        if among is not None:
            chosen, values = chosen[among], values[among]
        places = chosen.tolist()
        self._put(
            quantity,
            setting,
            values.double().tolist(),
            {
                **columns,
                "item_id": [self.ids[i] for i in places],
                "cluster_id": [self.clusters[i] for i in places],
                "label": self.labels[chosen].tolist(),
            },
        )

    def add_named(
        self, quantity: str, setting: Setting, values: dict[str, float], **columns: Any
    ) -> None:
        """Add values by name where they do not belong to items."""
        self._put(quantity, setting, list(values.values()), {**columns, "item_id": list(values)})

    def _put(
        self, quantity: str, setting: Setting, values: list[float], columns: dict[str, Any]
    ) -> None:
        assert quantity in QUANTITIES
        wrong = [value for value in values if not math.isfinite(value)]
        if wrong:
            raise CellError(
                f"{len(wrong)} of {len(values)} values of {quantity} are not finite",
                "Lower the strength.",
            )
        given = {
            **self.place,
            "method": setting.method,
            "strength": setting.strength,
            "fit_seed": setting.fit_seed,
            "quantity": quantity,
            "value": values,
            **columns,
        }
        arrays = [
            _column(given.get(field.name), len(values), field.type) for field in DIAGNOSIS_SCHEMA
        ]
        self._tables.append(pa.Table.from_arrays(arrays, schema=DIAGNOSIS_SCHEMA))

    def mark(self) -> int:
        """How much there is, for `back_to`."""
        return len(self._tables)

    def back_to(self, mark: int) -> None:
        """Drop the rows added since `mark`."""
        del self._tables[mark:]

    def table(self) -> pa.Table:
        """All rows."""
        return pa.concat_tables([DIAGNOSIS_SCHEMA.empty_table(), *self._tables])


def _column(values: Any, length: int, kind: pa.DataType) -> pa.Array:
    return pa.array(values if isinstance(values, list) else [values] * length, kind)
