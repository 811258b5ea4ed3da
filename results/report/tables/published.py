"""Tables in which published figures stand under the measured ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from steereval.common.text import slug
from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.published import Published, published_rows
from steereval.results.report.tables.leaderboard import product_words, score_words, unit_words
from steereval.results.report.tables.table import Column, Entry, ReportTable

MEASURED = "measured here"
PUBLISHED = "published"


def published_tables(
    rows: Sequence[Row], products: Mapping[tuple[str, str, str], float]
) -> Iterator[ReportTable]:
    """A table for every model, task and metric of which figures were published; `products` of
    means stand next to joint rates."""
    for _, group in groupby(rows, key=lambda row: (row.model, row.task.name, row.metric.name)):
        measured = list(group)
        first = measured[0]
        published = published_rows(first.task, first.metric.name, first.model)
        if published:
            yield _grid(measured, published, products)


def _grid(
    measured: Sequence[Row],
    published: Sequence[Published],
    products: Mapping[tuple[str, str, str], float],
) -> ReportTable:
    first = measured[0]
    columns = (
        Column("Method"),
        Column("Origin"),
        Column("Score", True, "Measured: ± standard error; published: ± what its authors give"),
        Column("What and where"),
    )
    caption = (
        f"{first.model}: {first.task.name} · {first.metric.name} ({unit_words(first.metric)}): "
        "published figures with measured ones; they were not measured here and are not tested"
    )
    name = f"{slug(first.model, first.task.name, first.metric.name)}-published"
    measured_rows = [_measured(row, product_words(row, products)) for row in measured]
    rows = [*measured_rows, *(_published(first, each) for each in published)]
    return ReportTable(name, caption, columns, tuple(rows))


def _measured(row: Row, product: str) -> tuple[Entry, ...]:
    order = row.score.mean if row.score else -math.inf
    return (
        Entry(row.name),
        Entry(MEASURED),
        Entry(score_words(row.score, row.metric), order, note=product),
        Entry(f"{row.score.n_items if row.score else 0} test items"),
    )


def _published(row: Row, figure: Published) -> tuple[Entry, ...]:
    scale = wording.scale_of(row.metric)
    text = f"{scale * figure.value:.6g}"
    if figure.spread is not None:
        text += f" ± {scale * figure.spread:.6g}"
    return (
        Entry(figure.method),
        Entry(PUBLISHED),
        Entry(text, figure.value),
        Entry(figure.what, note=figure.source),
    )
