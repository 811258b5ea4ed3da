"""The manifest of a run: what was planned, and how it is to be analysed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from steereval.common.errors import StoreError
from steereval.results.store.cell_record import CellKey, PlannedCell
from steereval.results.store.document import JsonObject, Part

BINARY = "binary"
BOUNDED = "bounded"
RATIO = "ratio"
TARGET = "target"

WRITE_AGAIN = "Start the run again with the same grid, which writes the manifest again."


class MetricEntry(Part):
    """A metric of a task, as it is declared."""

    kind: str
    """`binary`, `bounded` (0 to 1), `continuous`, or `ratio` (of sums: perplexity)."""
    higher_is_better: bool
    """Whether more of it is an improvement."""
    mean_of_subtasks: bool = False
    """Of a group: whether its score is the mean of its subtasks' scores, however many items each
    has; else it is the mean over all items."""


class JudgeEntry(Part):
    """A judge of a task's answers."""

    stand_in: bool
    """Whether it has random weights and so measures nothing."""
    scorer: str | None = None
    """Scorer of toxicity."""
    model: str | None = None
    """Its model, if the grid names another than the published one."""


class TaskEntry(Part):
    """A task of the grid."""

    role: str
    """`target`: to be improved; `capability`: to be kept."""
    margin: float | None = None
    """Largest loss that counts as none, in the metric's own unit; relative for a ratio."""
    primary_metric: str
    """The metric that the confirmatory family tests."""
    cluster: str | None = None
    """Unit of its clusters, in words."""
    subtasks: list[str] = []
    """Of a group: its tasks; an item's id begins with its task and a colon."""
    benchmark: str | None = None
    """The benchmark that it is; null for a stand-in."""
    documents: int | None = None
    """Documents of the whole task, whatever the grid's limit."""
    metrics: dict[str, MetricEntry]
    """{name: metric}."""
    judges: dict[str, JudgeEntry] = {}
    """{name: judge}."""


class MethodEntry(Part):
    """A method of the grid."""

    name: str = ""
    """The registered name."""
    options: JsonObject = {}
    """Options that the grid gives."""
    unit: str | None = None
    """Unit of the strengths: `absolute`, `relative` or `displacement`."""
    positions: str | None = None
    """Which tokens are steered."""
    incremental: bool = False
    """Whether it is fitted layer by layer."""
    reduced: dict[str, list[int | float]] = {}
    """{option: [value, default]} of training options below their defaults."""
    traits: list[str] | None = None
    """Traits of the method with these options; null in files of before they were kept."""


class SelectEntry(Part):
    """How strengths are chosen."""

    metric: str | None = None
    """Metric to choose by."""
    task: str | None = None
    """Task to choose on for all."""
    on: str = "validation"
    """Items to choose on."""
    share: float | None = None
    """Share of the items set aside for choosing."""
    layers: bool = False
    """Whether layers are chosen too."""


class AnalysisEntry(Part):
    """How the tables are read."""

    baseline: str = "none"
    """Label of the method that all others are compared with."""
    confidence: float = 0.95
    """Level of the intervals."""
    correction: str = "holm"
    """Correction within the confirmatory family."""


class ImportedArms(Part):
    """Arms that were measured elsewhere."""

    baseline: str | None
    """Label of the one that is the baseline; null: that of the grid."""
    cells: list[CellKey]
    """Their cells."""


class Manifest(Part):
    """`manifest.json`: what was planned, from what, and how it is to be analysed."""

    schema_version: int
    """Version of the tables' schema."""
    name: str
    """The run's name."""
    grid: JsonObject = {}
    """The whole grid, as `docs/schema/grid.json` describes it."""
    cells: list[PlannedCell]
    """The cells of the grid, repetitions too."""
    tasks: dict[str, TaskEntry]
    """{name: task}, in the order of the grid."""
    methods: dict[str, MethodEntry]
    """{label: method}, in the order of the grid."""
    select: SelectEntry | None = None
    """How strengths are chosen; null: every strength is a row of its own."""
    analysis: AnalysisEntry
    """How the tables are read."""
    contrasts: dict[str, JsonObject] = {}
    """{contrast set: its card}."""
    content: dict[str, dict[str, str]] = {}
    """{subject: {part: its hash}} of models, tasks and contrast sets."""
    versions: dict[str, str] = {}
    """{package: version}."""
    largest_group: float | None = None
    """Most operations of cells that are answered together, in 10^12; null in files of before it was
    kept."""
    created: str = ""
    """When it was planned, in ISO 8601."""
    machine: JsonObject = {}
    """Where it was planned."""
    imported: Annotated[ImportedArms | None, BeforeValidator(lambda value: value or None)] = None
    """Arms that were measured elsewhere."""
    rescored: JsonObject | None = None
    """When and with which lm-eval the answers were scored again."""

    @property
    def members(self) -> dict[str, CellKey]:
        """{id: cell} of what makes up the run: the grid's cells, then imported ones."""
        imported = self.imported.cells if self.imported else []
        return {cell.cell_id: cell for cell in (*self.cells, *imported)}


@dataclass(frozen=True)
class Metric:
    """A score that a task gives every item."""

    name: str
    """As in the item rows."""

    kind: str
    """"binary", "bounded" (0 to 1), "continuous", or "ratio" (of sums: perplexity)."""

    higher_is_better: bool
    """Whether more of it is an improvement."""

    @property
    def in_points(self) -> bool:
        """Whether scores are shown in points, 100 × value."""
        return self.kind in (BINARY, BOUNDED)


@dataclass(frozen=True)
class Task:
    """A task of the grid, and the part it plays."""

    name: str
    """As in the item rows."""

    role: str
    """"target": to be improved; "capability": to be kept."""

    margin: float | None
    """Declared beforehand, in the metric's own unit; for a ratio its relative change.

    For a capability the loss that is tolerated; for a target the least effect of interest.
    """

    primary: str
    """The metric that the confirmatory family tests."""

    cluster: str | None
    """Unit of its clusters, in words."""

    metrics: dict[str, Metric]
    """Its declared metrics, by name."""

    benchmark: str | None = None
    """The benchmark that it is, by which published figures are found; None for a stand-in."""

    stand_ins: tuple[str, ...] = ()
    """Its judges that have random weights and so measure nothing."""

    subtasks: tuple[str, ...] = ()
    """Of a group: its tasks."""

    @property
    def is_target(self) -> bool:
        """Whether it belongs to the confirmatory family."""
        return self.role == TARGET


@dataclass(frozen=True)
class Selection:
    """How strengths are chosen: on validation items only."""

    metric: str
    """The metric that the best strength has to maximise (or minimise, if lower is better)."""

    task: str | None
    """The task it is taken from; None: each target task for itself, the first for capabilities."""
    layers: bool = False
    """Whether the layer is chosen together with the strength."""


@dataclass(frozen=True)
class Plan:
    """Content of a manifest, without the parts that only the report prints."""

    name: str
    """The run's name."""

    cells: tuple[CellKey, ...]
    """The planned cells and the imported ones, without repetitions."""

    repeats: dict[str, str]
    """{id of a cell that is computed a second time: id of the cell that it repeats}."""

    tasks: dict[str, Task]
    """The tasks in the order of the grid."""

    methods: tuple[str, ...]
    """The labels of the methods in the order of the grid."""

    reduced: dict[str, str]
    """{method label: what its training was short of, in words}, for methods trained for less than
    they should be."""

    select: Selection | None
    """None: every strength is a row of its own."""

    baseline: str
    """Label of the method that the others are compared with."""

    imported: frozenset[str]
    """Labels of the arms that were measured elsewhere; they are not in `methods`."""

    confidence: float
    """Coverage of the intervals; 1 - confidence is the level of the tests."""

    correction: str
    """How p-values of the confirmatory family are adjusted, a method of `stats.adjust`."""

    @property
    def alpha(self) -> float:
        """The level of the tests."""
        return 1.0 - self.confidence


def parse_plan(manifest: Manifest) -> Plan:
    """The parts of a manifest that an analysis needs; StoreError where it contradicts itself."""
    imported = manifest.imported or ImportedArms(baseline=None, cells=[])
    labels = frozenset(cell.method for cell in imported.cells)
    if both := sorted(labels & manifest.methods.keys()):
        raise StoreError(
            f"manifest.json: {both[0]!r} is a method of the grid and an imported arm", WRITE_AGAIN
        )
    select, analysis = manifest.select, manifest.analysis
    planned = [cell for cell in manifest.cells if cell.repeats is None]
    return Plan(
        name=manifest.name,
        cells=(*planned, *imported.cells),
        repeats={cell.cell_id: cell.repeats for cell in manifest.cells if cell.repeats},
        tasks={name: _task(name, entry) for name, entry in manifest.tasks.items()},
        methods=tuple(manifest.methods),
        reduced=_reduced(manifest.methods),
        select=Selection(select.metric or "", select.task, select.layers) if select else None,
        baseline=imported.baseline or analysis.baseline,
        imported=labels,
        confidence=analysis.confidence,
        correction=analysis.correction,
    )


def metric_kinds(manifest: Manifest) -> dict[tuple[str, str], str]:
    """{(task, metric): kind} of the declared metrics."""
    return {
        (task, metric): known.kind
        for task, entry in manifest.tasks.items()
        for metric, known in entry.metrics.items()
    }


def means_of_subtasks(manifest: Manifest) -> dict[str, frozenset[str]]:
    """{group: its metrics that are the mean of its subtasks, however many items each has}."""
    return {
        task: frozenset(name for name, known in entry.metrics.items() if known.mean_of_subtasks)
        for task, entry in manifest.tasks.items()
    }


def _reduced(methods: Mapping[str, MethodEntry]) -> dict[str, str]:
    return {
        label: ", ".join(
            f"{name} {value} instead of {full}" for name, (value, full) in method.reduced.items()
        )
        for label, method in methods.items()
        if method.reduced
    }


def _task(name: str, entry: TaskEntry) -> Task:
    return Task(
        name=name,
        role=entry.role,
        margin=entry.margin,
        primary=entry.primary_metric,
        cluster=entry.cluster,
        metrics={
            metric: Metric(metric, known.kind, known.higher_is_better)
            for metric, known in entry.metrics.items()
        },
        benchmark=entry.benchmark,
        subtasks=tuple(entry.subtasks),
        stand_ins=tuple(name for name, judge in entry.judges.items() if judge.stand_in),
    )
