"""The leaderboard as one flat table, for CSV and Parquet: numbers in the metric's own unit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from steereval.common.csv_text import csv_safe
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.pairing import Strengths
from steereval.results.analysis.verdicts import margin_of
from steereval.results.store.manifest import RATIO

_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()

FLAT_SCHEMA = pa.schema(
    [
        *[(name, _TEXT) for name in ("model", "task", "role", "metric", "metric_kind")],
        *[(name, _FLAG) for name in ("higher_is_better", "primary", "baseline")],
        *[(name, _TEXT) for name in ("method", "layer", "strengths", "how_chosen")],
        ("n_candidates", _COUNT),
        *[(name, _NUMBER) for name in ("validation_score", "score", "score_se")],
        *[(name, _NUMBER) for name in ("score_low", "score_high")],
        ("score_interval", _TEXT),
        *[(name, _COUNT) for name in ("n_items", "n_clusters", "n_unclustered", "n_seeds")],
        *[(name, _COUNT) for name in ("n_folds", "n_dropped_items", "n_dropped_seeds")],
        ("difference_scale", _TEXT),
        *[(name, _NUMBER) for name in ("difference", "difference_se", "df")],
        *[(name, _NUMBER) for name in ("difference_low", "difference_high")],
        *[(name, _NUMBER) for name in ("p_value", "p_adjusted")],
        *[(name, _TEXT) for name in ("family", "test", "difference_interval")],
        *[(name, _NUMBER) for name in ("share_items", "share_seeds", "share_residual", "mde")],
        *[(name, _NUMBER) for name in ("discordant_for", "discordant_against")],
        *[(name, _NUMBER) for name in ("margin", "p_margin")],
        *[(name, _COUNT) for name in ("rank_best", "rank_worst")],
        *[(name, _NUMBER) for name in ("tokens_per_second", "seconds", "displacement")],
        ("collapses_from", _NUMBER),
        ("collapsed", _FLAG),
        *[(name, _TEXT) for name in ("caution", "verdict", "verdict_text", "untested")],
    ]
)
"""Differences are score - baseline; for ratios `difference_scale` is "log ratio".

A null is something that does not apply or could not be estimated; `untested` says why.
`collapses_from` is the strength from which on the arm's texts on the task collapse, `collapsed`
whether a strength of the row is so large.
`strengths` is "fit seed:strength" for each seed, "all:strength" where nothing is fitted.
"""


def flat_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table of FLAT_SCHEMA."""
    records = [_identity(row) | _score(row) | _difference(row) | _conclusion(row) for row in rows]
    return pa.Table.from_pylist(records, schema=FLAT_SCHEMA)


def csv_bytes(table: pa.Table) -> bytes:
    """`table` as CSV with a header; nulls are empty, and no text is a formula."""
    sink = io.BytesIO()
    pa_csv.write_csv(_without_formulas(table), sink)
    return sink.getvalue()


def _without_formulas(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = [csv_safe(text) for text in table[index].to_pylist()]
            table = table.set_column(index, field, pa.array(texts, field.type))
    return table


def strengths_text(strengths: Strengths) -> str:
    """ "fit seed:strength" for each seed, "all:strength" where nothing is fitted."""
    return ";".join(
        f"{'all' if seed is None else seed}:{strength:g}" for seed, strength in strengths.items()
    )


def _identity(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "task": row.task.name,
        "role": row.task.role,
        "metric": row.metric.name,
        "metric_kind": row.metric.kind,
        "higher_is_better": row.metric.higher_is_better,
        "primary": row.is_primary,
        "baseline": row.is_baseline,
        "method": row.arm.method,
        "layer": row.arm.layer,
        "strengths": strengths_text(row.strengths),
        "how_chosen": row.how_chosen,
        "n_candidates": row.n_candidates,
        "n_dropped_items": row.n_dropped_items,
        "n_dropped_seeds": row.n_dropped_seeds,
        "tokens_per_second": row.cost.tokens_per_second,
        "seconds": row.cost.seconds,
        "displacement": row.displacement,
    }


def _score(row: Row) -> dict[str, Any]:
    if row.score is None:
        return {}
    return {
        "validation_score": row.validation_score,
        "score": row.score.mean,
        "score_se": row.score.se,
        "score_low": row.score.low,
        "score_high": row.score.high,
        "score_interval": row.score.interval,
        "n_items": row.score.n_items,
        "n_seeds": row.score.n_seeds,
    }


def _difference(row: Row) -> dict[str, Any]:
    if row.comparison is None:
        return {}
    effect, grouping = row.comparison.effect, row.comparison.grouping
    shares = row.variance_shares or (None, None, None)
    discordant = row.comparison.discordant or (None, None)
    return {
        "n_items": effect.n_items,
        "n_clusters": grouping.n_clusters,
        "n_unclustered": grouping.n_unclustered,
        "n_seeds": effect.n_seeds,
        "n_folds": grouping.n_folds,
        "difference_scale": "log ratio" if row.metric.kind == RATIO else "score",
        "difference": effect.estimate,
        "difference_se": effect.se,
        "df": effect.df,
        "difference_low": effect.low,
        "difference_high": effect.high,
        "p_value": effect.p_value,
        "test": effect.test,
        "difference_interval": effect.interval,
        **dict(zip(("share_items", "share_seeds", "share_residual"), shares, strict=True)),
        "mde": row.mde,
        "discordant_for": discordant[0],
        "discordant_against": discordant[1],
    }


def _conclusion(row: Row) -> dict[str, Any]:
    verdict, rank = row.verdict, row.rank or (None, None)
    return {
        "p_adjusted": row.p_adjusted,
        "family": row.family,
        "margin": margin_of(row.task, row.metric),
        "p_margin": None if verdict is None else verdict.p_margin,
        "rank_best": rank[0],
        "rank_worst": rank[1],
        "collapses_from": row.collapses_from,
        "collapsed": None if row.is_baseline else row.is_collapsed,
        "caution": row.caution,
        "verdict": None if verdict is None else verdict.word,
        "verdict_text": None if verdict is None else verdict.sentence,
        "untested": row.untested,
    }
