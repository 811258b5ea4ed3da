"""Secondary tables: strength response, replication, failures, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.common_random_numbers import Coupling
from steereval.results.analysis.replication import Replication
from steereval.results.analysis.run_analysis import Analysis, Failure
from steereval.results.analysis.strength_response import StrengthPoint
from steereval.results.report.tables.leaderboard import score_words, unit_words
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.store.profiles import PHASES, Profile


def response_table(points: Sequence[StrengthPoint], name: str, confidence: float) -> ReportTable:
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
    return ReportTable(f"{name}-strengths", caption, columns, tuple(_point(p) for p in points))


def replication_table(replications: Sequence[Replication]) -> ReportTable:
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
        for r in replications
    )
    return ReportTable("replication", "Does it replicate?", columns, rows)


def coupling_table(couplings: Sequence[Coupling]) -> ReportTable:
    """How much sampling noise the methods' common random numbers took out of the differences."""
    columns = (
        Column("Method"),
        Column("On"),
        Column("Items", True),
        Column("Sample seeds", True),
        Column(
            "Noise removed",
            True,
            "Share of the sampling variance of the difference that is not there because both arms "
            "drew with the same random numbers",
        ),
        Column("Interval", True),
        Column(
            "Items saved",
            True,
            "Of the items that independent draws would need for the same standard error, the share "
            "that is not needed",
        ),
    )
    rows = tuple(
        (
            Entry(each.row.name),
            Entry(f"{each.row.model}: {each.row.task.name} · {each.row.metric.name}"),
            Entry(str(each.n_items), each.n_items),
            Entry(str(each.n_draws), each.n_draws),
            Entry(f"{100 * each.removed.estimate:.0f} %", each.removed.estimate),
            Entry(f"[{100 * each.removed.low:.0f}, {100 * each.removed.high:.0f}] %"),
            Entry(f"{100 * each.items_saved:.0f} %", each.items_saved),
        )
        for each in couplings
    )
    return ReportTable("coupling", "What common random numbers save", columns, rows)


def profile_table(profiles: Sequence[Profile]) -> ReportTable:
    """Where the time of each group of cells went."""
    shown = [name for name in PHASES if any(name in each.seconds for each in profiles)]
    columns = (
        Column("Group"),
        Column("Cells", True),
        Column("Seconds", True),
        *(Column(name.capitalize(), True, _PHASES[name]) for name in shown),
    )
    rows = tuple(_profile(each, shown) for each in profiles)
    return ReportTable("profile", "Where the time went (shares in %)", columns, rows)


_PHASES = {
    "waiting": "The worker had nothing to do",
    "loading": "Model and task",
    "fitting": "Reading activations and fitting steerers",
    "prefill": "What all cells share: primers, the blocks below the steering, prompts",
    "continuations": "Rows of all cells above that, and decoding",
    "steering": "The steerers themselves, wherever they act",
    "scoring": "lm-eval's requests, filters and metrics, cell by cell",
    "storing": "Rows, responses and records",
}


def _profile(profile: Profile, shown: Sequence[str]) -> tuple[Entry, ...]:
    total = sum(profile.seconds.values())
    shares = [profile.seconds.get(name, 0.0) / total if total else 0.0 for name in shown]
    return (
        Entry(f"{profile.model}: {profile.task}", note=f"layer {profile.layer or 'none'}"),
        Entry(str(profile.cells), profile.cells),
        Entry(f"{total:.1f}", total),
        *(Entry(f"{100 * share:.1f}", share) for share in shares),
    )


def failure_table(failures: Sequence[Failure]) -> ReportTable:
    """The failed cells with their errors."""
    columns = (Column("Cell"), Column("Setting"), Column("Error"))
    rows = tuple((Entry(f.cell_id), Entry(f.setting), Entry(f.error)) for f in failures)
    return ReportTable("failures", "Failed cells", columns, rows)


def seed_table(analysis: Analysis) -> ReportTable:
    """The seeds of the plan and how many cells each has."""
    columns = (Column("Kind"), Column("Values"), Column("Planned cells", True))
    rows = []
    for kind in ("fit_seed", "sample_seed", "fewshot_seed"):
        values = [getattr(cell, kind) for cell in analysis.plan.cells]
        known = sorted({value for value in values if value is not None})
        n_cells = sum(value is not None for value in values)
        entry = Entry(", ".join(map(str, known)) or "–")
        rows.append((Entry(kind.replace("_", " ")), entry, Entry(str(n_cells), n_cells)))
    return ReportTable("seeds", "Seeds", columns, tuple(rows))


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
