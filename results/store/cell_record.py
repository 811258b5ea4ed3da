"""The key of a cell, and the record that says what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import pyarrow as pa
from pydantic import BeforeValidator, model_validator

from steereval.common.validation import fault
from steereval.results.store.document import JsonObject, Part

DONE: Final = "done"
FAILED: Final = "failed"


class CellKey(Part):
    """The columns that name a cell, in the manifest and in every row."""

    cell_id: str
    """Hash of all that decides what the cell holds: 16 hexadecimal digits."""
    model: str
    """The model's name."""
    method: str
    """Label of the method."""
    strength: Annotated[float, BeforeValidator(lambda value: 0.0 if value is None else value)]
    """Strength of the steering; 0 for an unsteered model."""
    layer: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
    """Steered layers, such as "14", "10+12" or "all"; empty for an unsteered model."""
    task: str
    """The task's name."""
    fit_seed: int | None
    """Seed of the fit; null where nothing is drawn."""
    sample_seed: int
    """Seed of sampled generation."""
    fewshot_seed: int
    """Seed of the few-shot examples."""

    def columns(self) -> dict[str, Any]:
        """{column: value} of CELL_COLUMNS."""
        return {name: getattr(self, name) for name in CELL_COLUMNS}

    @property
    def setting(self) -> tuple[Any, ...]:
        """Values that name the cell in tables: the columns without the id."""
        return tuple(getattr(self, name) for name in SETTING_COLUMNS)


CELL_COLUMNS: Final = tuple(CellKey.model_fields)
"""Names of the columns that name a cell."""
SETTING_COLUMNS: Final = CELL_COLUMNS[1:]
"""The same without the id, which is a hash of more than they say."""

ARROW_TYPES: Final[Mapping[str, pa.DataType]] = {
    "strength": pa.float64(),
    **dict.fromkeys(("fit_seed", "sample_seed", "fewshot_seed"), pa.int64()),
}
"""Types of the columns in tables; the others are text."""


def cell_fields() -> dict[str, pa.Field]:
    """Fields of a table's schema for the columns that name a cell, by name."""
    return {
        name: pa.field(name, ARROW_TYPES.get(name, pa.string()), nullable=name == "fit_seed")
        for name in CELL_COLUMNS
    }


class PlannedCell(CellKey):
    """A cell of the grid."""

    repeats: str | None = None
    """Id of the cell that it computes a second time; null for others."""


class Timings(Part):
    """Times of a cell, shared out among the cells that were answered together."""

    seconds: float | None = None
    """Seconds of answering."""
    fit_seconds: float | None = None
    """Seconds of fitting."""
    total_seconds: float | None = None
    """Seconds from the group's start until the cell was stored, over the group's cells."""
    tokens: int | None = None
    """Tokens that the model was given or has written."""
    tokens_per_second: float | None = None
    """Tokens over seconds."""


class Group(Part):
    """The cells that were answered together."""

    id: str
    """Names the group."""
    cells: int
    """How many cells."""


class Environment(Part):
    """Where a cell was computed."""

    host: str | None = None
    """Name of the machine."""
    pid: int | None = None
    """Process of the worker."""
    device: str | None = None
    """Device of the model."""
    threads: int | None = None
    """Threads of torch."""
    python: str | None = None
    """Version of Python."""
    versions: dict[str, str] = {}
    """{package: version}."""


class CellFailure(Part):
    """Why a cell failed."""

    type: str | None = None
    """Class of the error."""
    message: str | None = None
    """In words."""
    traceback: list[str] = []
    """Lines of the traceback."""


class ImportSource(Part):
    """Where an imported cell comes from."""

    file: str
    """Name of the file of samples."""
    sha256: str
    """Hash of the file."""
    lm_eval: str | None
    """Version of lm-eval that wrote it."""
    documents_left_out: int
    """Documents that the run did not score."""
    documents_with_other_prompts: int
    """Documents with other prompts in the run."""


class Counts(Part):
    """Sizes of a cell's tables."""

    items: int
    """Items that were scored."""
    rows: int
    """Rows of items and metrics."""
    responses: int
    """Requests to the model."""


class FileDigest(Part):
    """The size and hash of a file."""

    bytes: int
    """Its size."""
    sha256: str = ""
    """Hash of its content."""


class CellFiles(Part):
    """The tables of a finished cell."""

    items: FileDigest
    """`cells/<cell_id>.parquet`."""
    responses: FileDigest
    """`responses/<cell_id>.parquet`."""


class CellFacts(Part):
    """Facts about a cell apart from its files."""

    name: str = ""
    """The cell in words."""
    identity: JsonObject | None = None
    """All that decides what the cell holds; its hash is the cell's id."""
    displacement: dict[str, float] = {}
    """{layer: mean distance that tokens were moved, in median norms of the fitted activations}."""
    timings: Timings = Timings()
    """Times."""
    group: Group | None = None
    """The cells that were answered with it."""
    batch_size: int | None = None
    """Prompts that generated together."""
    path: str | None = None
    """How log-likelihoods were computed: `shared` or `plain`."""
    content: dict[str, str] = {}
    """{subject: one hash of all that it was computed from}."""
    steerers: list[JsonObject] = []
    """Cards of the steerers."""
    environment: Environment = Environment()
    """Where it was computed."""
    metrics_without_numbers: list[str] = []
    """Metrics whose value is not a number for some item."""
    metrics_without_direction: list[str] = []
    """Metrics of which nothing says whether higher is better."""
    lost: dict[str, str] = {}
    """{item id: reason} of items without a score, since their requests cannot be given to the
    model."""
    judges: dict[str, JsonObject] = {}
    """{judge: who judged}."""
    judge_errors: dict[str, str] = {}
    """{judge: why it could not judge}."""
    imported: ImportSource | None = None
    """Where it comes from, if this program did not compute it."""
    error: CellFailure | None = None
    """Why it failed."""


class CellRecord(CellFacts):
    """The record of a cell that finished or failed: `cells/<cell_id>.json`."""

    schema_version: int
    """Version of the tables' schema."""
    cell_id: str
    """The cell."""
    status: Literal["done", "failed"]
    """`done`, or `failed`, in which case there are no tables."""
    counts: Counts | None = None
    """Sizes of the tables."""
    files: CellFiles | None = None
    """The tables; a finished cell has them."""

    @model_validator(mode="after")
    def _has_files(self) -> Self:
        if self.status == DONE and self.files is None:
            raise fault("a finished cell has no 'files'", "Delete the record.")
        return self

    @property
    def is_done(self) -> bool:
        """Whether the cell finished."""
        return self.status == DONE

    @property
    def tables(self) -> CellFiles:
        """The tables of a finished cell."""
        assert self.files is not None
        return self.files
