"""A comparison of runs as a folder: page, Markdown, CSV and Parquet; or as Markdown alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steereval.common.errors import InputError
from steereval.results.analysis.run_comparison import ArmPair, TwoRuns, compare_runs, open_run
from steereval.results.report.side_by_side import SideBySide, side_by_side
from steereval.results.report.tables.table import markdown_text
from steereval.results.report.writers.folder import MARKER, replaced_whole
from steereval.results.report.writers.leaderboard_table import csv_bytes, strengths_text
from steereval.results.report.writers.page import rendered
from steereval.results.store.manifest import RATIO
from steereval.results.store.run_folder import RunFolder

_SETTING = ("method", "layer_first", "layer_second", "strengths_first", "strengths_second")
_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()

SCHEMA = pa.schema(
    [
        *[(name, _TEXT) for name in ("first", "second", "model", "task", "metric")],
        ("primary", pa.bool_()),
        *[(name, _TEXT) for name in _SETTING],
        *[(name, _NUMBER) for name in ("score_first", "score_second")],
        ("difference_scale", _TEXT),
        *[(name, _NUMBER) for name in ("difference", "difference_se", "df")],
        *[(name, _NUMBER) for name in ("difference_low", "difference_high")],
        *[(name, _NUMBER) for name in ("p_value", "p_adjusted", "mde")],
        *[(name, _COUNT) for name in ("n_items", "n_clusters", "n_seeds")],
        *[(name, _TEXT) for name in ("test", "caution", "verdict", "untested")],
    ]
)
"""Differences are second - first, in the metric's own unit; for ratios "log ratio"."""


def compared(runs: Mapping[str, RunFolder]) -> list[TwoRuns]:
    """Each of `runs` but the first compared with the first, by the names that users call them.

    Raises InputError for fewer than two, and StoreError for one that cannot be read.
    """
    if len(runs) < 2:
        raise InputError("there is nothing to compare", "Give two different run folders or more.")
    first, *others = [open_run(name, run) for name, run in runs.items()]
    return [compare_runs(first, other) for other in others]


def comparison_markdown(pairs: Sequence[TwoRuns]) -> str:
    """The comparison to read in a terminal or to post."""
    return "\n".join(_markdown(side_by_side(pairs))) + "\n"


def write_comparison(pairs: Sequence[TwoRuns], folder: Path) -> Path:
    """Write index.html, comparison.md, .csv and .parquet into `folder`; the page's path.

    An older comparison or report there is replaced; anything else is a StoreError.
    """
    content = side_by_side(pairs)
    table = pa.Table.from_pylist([_flat(two, arm) for two in pairs for arm in two.arms], SCHEMA)
    with replaced_whole(folder) as fresh:
        page = rendered("side_by_side.html.j2", content=content)
        (fresh / MARKER).write_text(page, encoding="utf-8")
        (fresh / "comparison.md").write_text(comparison_markdown(pairs), encoding="utf-8")
        (fresh / "comparison.csv").write_bytes(csv_bytes(table))
        pq.write_table(table, fresh / "comparison.parquet")
    return folder / MARKER


def _markdown(content: SideBySide) -> Iterator[str]:
    yield f"# {markdown_text(content.title)}\n\n{content.reading}"
    for section in content.sections:
        if len(content.sections) > 1:
            yield f"\n## {markdown_text(section.title)}"
        yield ""
        yield from (f"- {markdown_text(sentence)}" for sentence in section.sentences)
        for grid in (*section.tables, *section.apart):
            yield f"\n{markdown_text(grid.caption)}\n\n{grid.markdown()}"


def _flat(two: TwoRuns, arm: ArmPair) -> dict[str, Any]:
    first, second = (None if score is None else score.mean for score in arm.scores)
    known: dict[str, Any] = {
        "first": two.first.name,
        "second": two.second.name,
        "model": arm.model,
        "task": arm.task.name,
        "metric": arm.metric.name,
        "primary": arm.is_primary,
        "method": arm.arm.method,
        "layer_first": arm.arm.layer,
        "layer_second": arm.other_arm.layer,
        "strengths_first": strengths_text(arm.strengths[0]),
        "strengths_second": strengths_text(arm.strengths[1]),
        "score_first": first,
        "score_second": second,
        "verdict": arm.word,
        "untested": arm.untested,
    }
    if arm.comparison is None:
        return known
    effect = arm.comparison.effect
    return known | {
        "difference_scale": "log ratio" if arm.metric.kind == RATIO else "score",
        "difference": effect.estimate,
        "difference_se": effect.se,
        "df": effect.df,
        "difference_low": effect.low,
        "difference_high": effect.high,
        "p_value": effect.p_value,
        "p_adjusted": arm.p_adjusted,
        "mde": arm.mde,
        "n_items": effect.n_items,
        "n_clusters": effect.n_clusters,
        "n_seeds": effect.n_seeds,
        "test": effect.test,
        "caution": effect.caution,
    }
