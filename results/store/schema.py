"""The tables of a run folder: one row per item and metric, and one per request to the model.

The version stands in every Parquet file's key-value metadata; a reader of another version says so.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from steereval.results.store.cell_record import cell_fields

SCHEMA_VERSION: Final = 1
"""Raised by one with every change to a column's name, type or meaning."""

VERSION_KEY: Final = b"steereval.schema_version"
"""Where the version stands in a Parquet file's metadata."""

SPLITS: Final = ("validation", "test")
"""Strengths are chosen on validation items; only test items are reported."""

KINDS: Final = ("loglikelihood", "generation")
"""Kinds of requests."""

_METADATA = {VERSION_KEY: str(SCHEMA_VERSION).encode()}


_CELL = cell_fields()


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


ITEM_SCHEMA: Final = pa.schema(
    [
        *(_CELL[name] for name in ("cell_id", "model", "method", "strength", "layer", "task")),
        _field("metric", pa.string()),
        _field("higher_is_better", pa.bool_()),
        _field("item_id", pa.string()),
        _field("cluster_id", pa.string(), nullable=True),
        _field("split", pa.string()),
        *(_CELL[name] for name in ("fit_seed", "sample_seed", "fewshot_seed")),
        _field("fold", pa.int64(), nullable=True),
        _field("value", pa.float64()),
        _field("weight", pa.float64()),
    ],
    metadata=_METADATA,
)
"""`layer` is "14", "10+12" or "all", and "" for an unsteered model, for which `fit_seed` and `fold`
are null.

`item_id` is the same for all methods, so differences pair. `value` is the score; for a ratio metric
(perplexity) the item's summed negative log-likelihood in nats, `weight` its number of tokens;
`weight` is 1 else.
"""

RESPONSE_SCHEMA: Final = pa.schema(
    [
        _field("cell_id", pa.string()),
        _field("task", pa.string()),
        _field("item_id", pa.string()),
        _field("request", pa.int64()),
        _field("kind", pa.string()),
        _field("prompt_hash", pa.string()),
        _field("prompt", pa.string()),
        _field("continuation", pa.string()),
        _field("log_likelihood", pa.float64(), nullable=True),
        _field("is_greedy", pa.bool_(), nullable=True),
    ],
    metadata=_METADATA,
)
"""One row per request: `request` counts those of an item; `kind` is one of KINDS.

`continuation` is the text scored or generated, `log_likelihood` in nats; both last columns are null
for a generation.
"""
