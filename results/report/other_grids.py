"""The tables beside the leaderboard: strength response, replication, failures, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steereval.results import wording
from steereval.results.analysis import Analysis, Failure
from steereval.results.replication import Replication
from steereval.results.report.grid import Column, Entry, Grid
from steereval.results.report.leader_grids import score_words, unit_words
from steereval.results.response import StrengthPoint


def response_grid(points: Sequence[StrengthPoint], name: str, confidence: float) -> Grid:
    """Scores at every strength of one model, task and metric."""
    columns = (
        Column("Method"),
        Column("Strength", True),
        Column("Score ± SE", True),
        Column(f"{100 * confidence:g} % interval", True),
        Column("Items", True),
        Column("Seeds", True),
        Column("Chosen in", True, "Number of fit seeds that chose it on validation items"),
    )
    first = points[0]
    caption = f"{first.model}: {first.task.name} · {first.metric.name} ({unit_words(first.metric)})"
    return Grid(f"{name}-strengths", caption, columns, tuple(_point(p) for p in points))


def replication_grid(found: Sequence[Replication]) -> Grid:
    """In how many models, or tasks, each arm improves."""
    columns = (
        Column("Method"),
        Column("Across"),
        Column("On"),
        Column("Claim"),
        Column("Tested", True, "Places with a comparison; the others count as no improvement"),
        Column("p for at least 1, 2, …", True),
    )
    rows = tuple(
        (
            Entry(r.arm),
            Entry(r.across),
            Entry(r.where),
            Entry(r.sentence, tone="good" if r.at_least else "open"),
            Entry(f"{r.n_tested} of {len(r.places)}", r.n_tested),
            Entry(", ".join(wording.p_value(p) for p in r.p_values), r.p_values[0]),
        )
        for r in found
    )
    return Grid("replication", "Does it replicate?", columns, rows)


def failure_grid(failures: Sequence[Failure]) -> Grid:
    """The failed cells with their errors."""
    columns = (Column("Cell"), Column("Setting"), Column("Error"))
    rows = tuple((Entry(f.cell_id), Entry(f.setting), Entry(f.error)) for f in failures)
    return Grid("failures", "Failed cells", columns, rows)


def seed_grid(analysis: Analysis) -> Grid:
    """The seeds of the plan and how many cells each has."""
    columns = (Column("Kind"), Column("Values"), Column("Planned cells", True))
    rows = []
    for kind in ("fit_seed", "sample_seed", "fewshot_seed"):
        values = [cell.get(kind) for cell in analysis.plan.cells]
        known = sorted({value for value in values if value is not None})
        n_cells = sum(value is not None for value in values)
        entry = Entry(", ".join(map(str, known)) or "–")
        rows.append((Entry(kind.replace("_", " ")), entry, Entry(str(n_cells), n_cells)))
    return Grid("seeds", "Seeds", columns, tuple(rows))


def _point(point: StrengthPoint) -> tuple[Entry, ...]:
    score = point.score
    scale = wording.scale_of(point.metric)
    if score is None or score.low is None or score.high is None:
        ends = "–"
    else:
        decimals = wording.decimals_for(scale * (score.se or 0.0), point.metric)
        low, high = (wording.number(scale * x, decimals) for x in (score.low, score.high))
        ends = f"[{low}, {high}]"
    return (
        Entry(point.arm.method, note=point.arm.layer_words),
        Entry(wording.strength(point.strength), point.strength),
        Entry(score_words(score, point.metric), score.mean if score else -math.inf),
        Entry(ends),
        Entry(str(score.n_items) if score else "–", score.n_items if score else -1),
        Entry(str(score.n_seeds) if score else "–", score.n_seeds if score else -1),
        Entry(str(point.n_chosen) if point.n_chosen else "–", point.n_chosen),
    )
