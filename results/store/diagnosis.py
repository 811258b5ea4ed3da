"""Measurements of `steereval diagnose` on stored activations: one long table in RUN/diagnosis/.

A file holds what was measured for one model, one contrast set and one set of layers, and appears
whole or not at all; nothing else of the run depends on it. Values are those of single items, so
that every figure of the report comes with an interval.

The contrast's questions are parted in three by the hash of their keys: steerers are fitted on the
first part, a barrier that judges them on the second, and only the third is measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from steereval.common.errors import StoreError
from steereval.results.store import parquet
from steereval.results.store.cell_record import Environment
from steereval.results.store.document import (
    JsonObject,
    Part,
    json_bytes,
    parse_json,
    read_document,
)
from steereval.results.store.schema import SCHEMA_VERSION, VERSION_KEY
from steereval.results.store.storage import Storage

FOLDER: Final = "diagnosis"

JUDGES: Final = ("own", "crossfit", "other_hash")
"""Whose barrier h it is: the steerer's own; one fitted on other data with other hash functions
(the headline: on its own h a gradient flow rises by construction); one fitted on the steerer's own
data with other hash functions."""

UNSTEERED: Final = "none"
"""The label under which the unsteered model's own cost stands."""

DATA: Final = "data"
"""The label of held-out positive activations, which are steered by nothing: what is natural."""


@dataclass(frozen=True)
class Quantity:
    """A number that is measured for an item."""

    question: int
    """Number of the question that it answers."""
    meaning: str
    """Its meaning, with its unit."""


QUANTITIES: Final[Mapping[str, Quantity]] = {
    "tokens_per_second": Quantity(1, "tokens that one text after the other is given, decoding"),
    "flops_per_token": Quantity(1, "operations for a token: of the model, or of the steerer"),
    "steerer_bytes": Quantity(1, "memory of the steerer's tensors"),
    "probe_score": Quantity(2, "what the method tells the classes by, at a position of the text"),
    "endpoint_distance": Quantity(3, "|y - y*| to the reference solution, over the displacement"),
    "one_step_distance": Quantity(3, "|y_K - y_1|: K steps against one, in units of x"),
    "gain_at_displacement": Quantity(3, "h(y) - h(x), all methods displacing alike"),
    "subset_agreement": Quantity(5, "mean cosine of the displacement with other fit seeds'"),
    "rises": Quantity(6, "share of the path's steps with a rising h"),
    "ascends": Quantity(6, "share of the path's steps that begin along grad h: grad h . v > 0"),
    "starts_below": Quantity(6, "1 where h < 0 at the start"),
    "reaches": Quantity(6, "1 where h >= 0 somewhere on the path"),
    "stays": Quantity(6, "1 where h >= 0 from there to the end; only where it was reached"),
    "log_ratio": Quantity(7, "h along the path, in nats"),
    "mahalanobis": Quantity(7, "distance from held-out positives by their covariance"),
    "nearest": Quantity(7, "distance to the 10 nearest held-out positives, in median norms"),
    "norm_ratio": Quantity(7, "|y| / |x| along the path"),
    "field_cosine": Quantity(8, "mean cosine of the direction with that at the other points"),
    "mean_difference_cosine": Quantity(8, "cosine of the direction with mean(P) - mean(N)"),
    "path_stretch": Quantity(8, "length of the path over the distance of its ends"),
    "turning": Quantity(8, "angle between the path's first and last step, in degrees"),
}
"""All quantities by name."""


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


DIAGNOSIS_SCHEMA: Final = pa.schema(
    [
        _field("model", pa.string()),
        _field("layer", pa.string()),
        _field("contrast", pa.string()),
        _field("method", pa.string()),
        _field("strength", pa.float64()),
        _field("fit_seed", pa.int64(), nullable=True),
        _field("quantity", pa.string()),
        _field("judge", pa.string(), nullable=True),
        _field("position", pa.string(), nullable=True),
        _field("solver", pa.string(), nullable=True),
        _field("steps", pa.int64(), nullable=True),
        _field("step", pa.int64(), nullable=True),
        _field("label", pa.bool_(), nullable=True),
        _field("item_id", pa.string()),
        _field("cluster_id", pa.string(), nullable=True),
        _field("value", pa.float64()),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""`method` is the label in the grid, UNSTEERED or DATA. `strength` is the cell's own; for
`gain_at_displacement` the displacement, in median norms. `judge` is one of JUDGES. `position` is
where in the text the state is taken: `last` (where steerers are fitted), `query`, `mean`, or
`token 1`, `token 2`, ... of the answer. `solver` and `steps` are of variants of a flow, `step`
counts a path's points from 0, its start. `label`: whether the item is of the wanted class.
`item_id` names the statement (or the repetition of a timing); it is the same for all methods, so
differences pair; `cluster_id` is its question.
"""


class PartSize(Part):
    """Size of one of the three parts of a contrast set."""

    keys: int
    """Questions."""
    positive: int
    """Statements of the wanted class."""
    negative: int
    """The others."""


class PartSizes(Part):
    """Sizes of the parts that the questions of a contrast set are divided into."""

    fit: PartSize
    """Steerers are fitted on it."""
    judge: PartSize
    """The barrier that judges them is fitted on it."""
    test: PartSize
    """Quantities are measured on it."""


class DiagnosisRecord(Part):
    """`diagnosis/<name>.json`: what was measured, on what, and where."""

    model: str = ""
    """The model's name."""
    layer: str = ""
    """Steered layers, as in a cell."""
    block: int | None = None
    """Block whose states are measured."""
    contrast: str = ""
    """The contrast set's name."""
    contrast_hash: str | None = None
    """Hash of its statements."""
    items: int | None = None
    """Statements that quantities are measured on."""
    counts: PartSizes | None = None
    """Sizes of its parts."""
    errors: dict[str, str] = {}
    """{label of a method that could not be measured: reason}."""
    left_out: dict[str, str] = {}
    """{label of a method that is not measured: reason}."""
    unreached: dict[str, list[float]] = {}
    """{label of a method: displacements, in median norms, that none of its strengths reaches}."""
    content: dict[str, str] = {}
    """{subject: one hash of all of its parts} of the model and the contrast set."""
    seconds: float | None = None
    """Time of the measurement, in seconds."""
    environment: Environment | None = None
    """Where it was measured."""
    created: str | None = None
    """When it was measured, in ISO 8601."""
    file: JsonObject = {}
    """Size in bytes and SHA-256 of the table."""


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of one model, contrast set and set of layers."""

    table: pa.Table
    """Rows of DIAGNOSIS_SCHEMA."""
    record: DiagnosisRecord = field(default_factory=DiagnosisRecord)
    """Its data, and where it was measured."""


def write_diagnosis(place: Storage, name: str, diagnosis: Diagnosis) -> None:
    """Store a diagnosis in the run folder at `place`, its record last. Raises StoreError."""
    data = parquet.encode(diagnosis.table, DIAGNOSIS_SCHEMA, f"the diagnosis {name}")
    record = diagnosis.record.model_copy(update={"file": parquet.digest(data)})
    place.make(FOLDER)
    place.remove(f"{FOLDER}/{name}.json")
    place.write(f"{FOLDER}/{name}.parquet", data)
    place.write(f"{FOLDER}/{name}.json", json_bytes(record, f"the diagnosis {name}"))


def remove_diagnosis(place: Storage, name: str) -> None:
    """Remove one that is no longer of the grid, its record first."""
    place.remove(f"{FOLDER}/{name}.json")
    place.remove(f"{FOLDER}/{name}.parquet")


def diagnosed(place: Storage) -> set[str]:
    """Names of what the run folder at `place` holds whole."""
    return {n.removesuffix(".json") for n in place.sizes(FOLDER) if n.endswith(".json")}


def read_diagnoses(place: Storage) -> dict[str, Diagnosis]:
    """{name: what was measured in one place}.

    Raises StoreError for a file that is damaged or of another version.
    """
    return {name: _read(place, name) for name in sorted(diagnosed(place))}


def errors_of(place: Storage, name: str) -> dict[str, str]:
    """{label of a method that could not be measured: why}. Raises StoreError."""
    return record_of(place, name).errors


def record_of(place: Storage, name: str) -> DiagnosisRecord:
    """The record of one place. Raises StoreError."""
    where = place.at(f"{FOLDER}/{name}.json")
    remedy = "Run `steereval diagnose` again."
    value = parse_json(where, place.read(f"{FOLDER}/{name}.json") or b"", remedy)
    return read_document(DiagnosisRecord, where, value, f"Delete it. {remedy}")


def _read(place: Storage, name: str) -> Diagnosis:
    record = record_of(place, name)
    data = place.read(f"{FOLDER}/{name}.parquet")
    table = place.at(f"{FOLDER}/{name}.parquet")
    rows = parquet.decode(table, data, DIAGNOSIS_SCHEMA, record.file)
    _check_rows(rows, table)
    return Diagnosis(rows, record)


def _check_rows(rows: pa.Table, where: str) -> None:
    """Refuse what no writer writes: values that are not finite, two values of one thing."""
    remedy = "Delete it and its .json of the same name, and run `steereval diagnose` again."
    finite = pc.is_finite(rows["value"])
    if not pc.all(finite).as_py():
        row = rows.filter(pc.invert(finite)).slice(0, 1).to_pylist()[0]
        raise StoreError(
            f"{where} has the value {row['value']} for {row['quantity']} of item {row['item_id']} "
            f"of {row['method']}",
            remedy,
        )
    keys = [name for name in rows.column_names if name != "value"]
    counted = rows.select(keys).group_by(keys).aggregate([([], "count_all")])
    if counted.num_rows != rows.num_rows:
        twice = counted.filter(pc.greater(counted["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise StoreError(
            f"{where} has {twice['count_all']} rows for {twice['quantity']} of item "
            f"{twice['item_id']} of {twice['method']}",
            remedy,
        )
