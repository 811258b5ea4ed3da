"""The noise floor as a table and as sentences: what differs where a cell was computed twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.noise_floor import NoiseFloor
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.store.manifest import RATIO

NOT_MEASURED = (
    "No cell was computed twice, so how far scores move by chance of the machine alone is not "
    "known. `noise_floor: METHOD` in the grid file adds such pairs."
)


def noise_floor_table(floors: Sequence[NoiseFloor], confidence: float) -> ReportTable:
    """One line a pair and metric."""
    columns = (
        Column("Computed twice"),
        Column("On"),
        Column("Items", True, "Test items that both have"),
        Column("Differ", True, "Items whose two scores are not equal"),
        Column("Largest difference", True, "Of one item, in points; of a perplexity in nats"),
        Column(f"Difference [{100 * confidence:g} %]", True, "The second minus the first"),
        Column(
            "Seeds' spread",
            True,
            "Standard deviation between fit seeds of the mean score at this strength",
        ),
        Column("Batch size", help="Of the first → of the second"),
        Column("Worker"),
    )
    rows = tuple(_row(floor) for floor in floors)
    return ReportTable("noise-floor-table", "Noise floor (A/A pairs)", columns, rows)


def noise_words(floors: Sequence[NoiseFloor], planned: int) -> str:
    """A sentence on the result of the pairs; `planned` is the number of pairs in the plan."""
    if not planned:
        return NOT_MEASURED
    if not floors:
        return f"Of the {planned} cells to be computed twice, none is finished both times."
    items, differing = (sum(getattr(f, n) for f in floors) for n in ("n_items", "n_differing"))
    if not differing:
        return f"All {items} scores that were computed twice are equal to the last digit."
    text = f"{differing} of {items} scores that were computed twice differ"
    shares = [_share_of_seeds(floor) for floor in floors]
    beyond = [_place(floor) for floor, share in zip(floors, shares, strict=True) if share > 1]
    if beyond:
        names = ", ".join(dict.fromkeys(beyond))
        return f"{text}; on {names} the mean moves by more than fit seeds spread."
    largest = max(shares)
    if not largest:
        return f"{text}, by the amounts below."
    return f"{text}; no mean moves by more than {100 * largest:.2g} % of the fit seeds' spread."


def _place(floor: NoiseFloor) -> str:
    return f"{floor.task.name} · {floor.metric.name}"


def _share_of_seeds(floor: NoiseFloor) -> float:
    """The mean difference as a share of the fit seeds' spread; 0 where either is not known."""
    if floor.effect is None or floor.seed_spread is None or not floor.effect.estimate:
        return 0.0
    return abs(floor.effect.estimate) / floor.seed_spread if floor.seed_spread else math.inf


def _row(floor: NoiseFloor) -> tuple[Entry, ...]:
    sizes, cell = floor.batch_sizes, floor.cell
    note = [cell.arm.layer_words, f"strength {cell.strength:g}" if cell.arm.layer else ""]
    note += [f"seed {cell.fit_seed}"] if cell.fit_seed is not None else []
    worker = {True: "another", False: "the same", None: "not recorded"}[floor.is_other_worker]
    return (
        Entry(cell.arm.method, note=", ".join(filter(None, note))),
        Entry(_place(floor), note=floor.model),
        Entry(str(floor.n_items), floor.n_items),
        Entry(str(floor.n_differing), floor.n_differing),
        _largest(floor),
        _difference(floor),
        _spread(floor),
        Entry("not recorded" if sizes is None else f"{sizes[0]} → {sizes[1]}"),
        Entry(worker),
    )


def _largest(floor: NoiseFloor) -> Entry:
    if not floor.n_differing:
        return Entry("0", 0.0)
    unit = " nats" if floor.metric.kind == RATIO else ""
    scaled = wording.scale_of(floor.metric) * floor.largest
    return Entry(f"{_brief(scaled)}{unit}", floor.largest)


def _difference(floor: NoiseFloor) -> Entry:
    if floor.effect is None:
        return Entry("–", -math.inf, note=floor.untested)
    text = wording.difference(floor.effect, floor.metric).replace(" points", "")
    return Entry(text, floor.effect.estimate)


def _spread(floor: NoiseFloor) -> Entry:
    if floor.seed_spread is None:
        reason = "unseeded" if floor.cell.fit_seed is None else "one seed"
        return Entry(reason, -math.inf)
    if floor.metric.kind == RATIO:
        text = f"× {wording.factor(floor.seed_spread)}"
    else:
        text = _brief(wording.scale_of(floor.metric) * floor.seed_spread)
    return Entry(text, floor.seed_spread, note=f"{floor.n_seeds} seeds")


def _brief(value: float) -> str:
    """Two digits, "∞" for what is infinite."""
    return "∞" if math.isinf(value) else f"{value:.2g}"
