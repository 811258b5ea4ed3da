"""The leaderboard's tables: one for the result, one for what it rests on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from steereval.results.analysis import wording
from steereval.results.analysis.judge_coverage import JOINT
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.score import Score
from steereval.results.analysis.scores import Seed
from steereval.results.analysis.selection import IMPORTED
from steereval.results.report.summary import marked_verdict, role_words, tone_of
from steereval.results.report.tables.table import Column, Entry, ReportTable
from steereval.results.stats.seed_robust_interval import SEED_ROBUST
from steereval.results.store.manifest import RATIO, Metric

_ABSENT = Entry("–", -math.inf)


def result_table(
    rows: Sequence[Row],
    name: str,
    confidence: float,
    products: Mapping[tuple[str, str, str], float],
) -> ReportTable:
    """Score, difference and verdict of the rows of one table; next to a joint rate stands the
    product of the two means, of `products`."""
    percent = f"{100 * confidence:g} %"
    columns = (
        Column("Method"),
        Column("Strength", help="Chosen on validation items, if the table below says so"),
        Column("Score ± SE", True, "Mean over test items and seeds, with its standard error"),
        Column(
            f"Difference [{percent}, unadjusted]",
            True,
            "To the baseline, paired by item and seed; the interval is that of one comparison",
        ),
        Column("Adjusted p", True, "Within the family of tests"),
        Column("Verdict"),
        Column("Detects", True, "Least difference that this design detects (5 %, power 80 %)"),
        Column("Rank", True, "Interval of ranks that tests of all pairs leave open"),
    )
    entries = tuple(_result(row, product_words(row, products)) for row in rows)
    return ReportTable(f"{name}-result", caption(rows[0]), columns, entries)


def basis_table(rows: Sequence[Row], name: str) -> ReportTable:
    """The basis of the rows of one table: choices, counts, tests, variances, cost."""
    columns = (
        Column("Method"),
        Column("How the strength was chosen"),
        Column("Validation → test", True, "Score of the chosen strengths on validation items"),
        Column("Items", True, "Test items compared; left out of every arm: missing in one"),
        Column("Clusters", True, "Single items without a known cluster included"),
        Column("Seeds", True, "Fit seeds, crossed with items"),
        Column("p", True, "Before adjusting"),
        Column("Test"),
        Column("df", True),
        Column("Variance", True, "Shares of items / seeds / residual in the difference's variance"),
        Column("Discordant", True, "Items for / against the method, mean over seeds"),
        Column(
            "Tokens/s", True, "Of this run, in which cells share work: not the cost of steering"
        ),
        Column("Moved", True, "Mean distance |y - x| by which a steered token was moved at a site"),
        Column("Family"),
    )
    title = f"What it rests on: {rows[0].task.name} · {rows[0].metric.name}"
    return ReportTable(f"{name}-basis", title, columns, tuple(_basis(row) for row in rows))


def caption(row: Row) -> str:
    """Task, metric, unit and part of a table, in words."""
    direction = "higher is better" if row.metric.higher_is_better else "lower is better"
    rank = "primary metric" if row.is_primary else "secondary metric, exploratory"
    return (
        f"{row.task.name} · {row.metric.name} ({unit_words(row.metric)}, {direction}; {rank}; "
        f"{role_words(row)})"
    )


def unit_words(metric: Metric) -> str:
    """The unit that scores and differences are shown in."""
    if metric.kind == RATIO:
        return "perplexity, differences as factors"
    return "points" if metric.in_points else "own unit"


def score_words(score: Score | None, metric: Metric) -> str:
    """A score with its standard error, in points where that is the unit."""
    if score is None:
        return "–"
    scale = wording.scale_of(metric)
    if score.se is None:
        return wording.number(scale * score.mean, 1)
    decimals = wording.decimals_for(scale * score.se, metric)
    mean, se = (wording.number(scale * x, decimals) for x in (score.mean, score.se))
    return f"{mean} ± {se}"


def product_words(row: Row, products: Mapping[tuple[str, str, str], float]) -> str:
    """The product of the two means next to the joint rate of both; empty for other metrics."""
    product = products.get((row.model, row.task.name, row.name))
    if row.metric.name != JOINT or product is None:
        return ""
    return f"product of the means: {wording.number(100 * product, 1)}"


def strength_words(strengths: Iterable[tuple[Seed, float]]) -> str:
    """ "2", or "2 (3 seeds), 4 (2 seeds)" where seeds differ."""
    counts = Counter(strength for _, strength in strengths)
    if len(counts) <= 1:
        return "".join(wording.strength(strength) for strength in counts) or "–"
    return ", ".join(
        f"{wording.strength(strength)} ({number} seed{'s' if number > 1 else ''})"
        for strength, number in sorted(counts.items())
    )


def brief_strengths(row: Row) -> str:
    """ "2", or "1, 2" where seeds differ."""
    return ", ".join(wording.strength(x) for x in sorted(set(row.strengths.values())))


def _result(row: Row, product: str) -> tuple[Entry, ...]:
    has_none = row.is_baseline or row.how_chosen == IMPORTED
    strengths = Entry("–") if has_none else Entry(strength_words(row.strengths.items()))
    return (
        _arm(row, row.caution),
        strengths,
        Entry(
            score_words(row.score, row.metric),
            row.score.mean if row.score else -math.inf,
            note=product,
        ),
        difference_entry(row),
        _number(row.p_adjusted, wording.p_value),
        Entry(marked_verdict(row), tone=tone_of(row), note=row.untested),
        _detects(row),
        rank_entry(row),
    )


def _basis(row: Row) -> tuple[Entry, ...]:
    comparison = row.comparison
    if comparison is None:
        counts: tuple[Entry, ...] = (_items(row), _ABSENT, _seeds(row))
        counts += (_ABSENT, Entry("–"), _ABSENT, _ABSENT, _ABSENT)
    else:
        effect = comparison.effect
        counts = (
            _items(row),
            _clusters(row),
            _seeds(row),
            _number(effect.p_value, wording.p_value),
            Entry(
                _unbroken(effect.test),
                note=""
                if effect.interval in ("t", effect.test)
                else f"interval: {effect.interval}",
            ),
            Entry(f"{effect.df:.0f}", effect.df),
            _shares(row),
            _discordant(row),
        )
    return (
        _arm(row),
        _chosen(row),
        _validation(row),
        *counts,
        _speed(row),
        _moved(row),
        _family(row),
    )


def _arm(row: Row, caution: str = "") -> Entry:
    strengths = row.strengths.values() if row.name != row.arm.label else ()
    words = [row.arm.layer_words, *(f"strength {s:g}" for s in list(strengths)[:1]), caution]
    return Entry(row.arm.method, note=", ".join(filter(None, words)))


def _chosen(row: Row) -> Entry:
    if row.n_candidates:
        return Entry(f"best of {row.n_candidates}", note=row.how_chosen)
    return Entry(row.how_chosen or "–")


def difference_entry(row: Row) -> Entry:
    """The difference to the baseline with its interval."""
    if row.comparison is None:
        return _ABSENT
    effect = row.comparison.effect
    return Entry(wording.difference(effect, row.metric).replace(" points", ""), effect.estimate)


def _detects(row: Row) -> Entry:
    if row.mde is None or row.comparison is None:
        return _ABSENT
    if row.metric.kind == RATIO:
        return Entry(f"× {wording.factor(row.mde)}", row.mde)
    scale = wording.scale_of(row.metric)
    decimals = wording.decimals_for(scale * row.comparison.effect.se, row.metric)
    return Entry(wording.number(scale * row.mde, decimals), row.mde)


def rank_entry(row: Row) -> Entry:
    """The interval of its rank."""
    if row.rank is None:
        return _ABSENT
    best, worst = row.rank
    return Entry(str(best) if best == worst else f"{best} – {worst}", best)


def _items(row: Row) -> Entry:
    if row.comparison is not None:
        n = row.comparison.effect.n_items
    else:
        n = row.score.n_items if row.score else 0
    folds = row.comparison.grouping.n_folds if row.comparison is not None else 1
    notes = [f"{row.n_dropped_items} left out"] if row.n_dropped_items else []
    notes += [f"{folds} folds"] if folds > 1 else []
    return Entry(str(n), n, note=", ".join(notes))


def _clusters(row: Row) -> Entry:
    if row.comparison is None:
        return _ABSENT
    grouping = row.comparison.grouping
    if grouping.clusters is None:
        return Entry("items", grouping.n_clusters)
    note = f"{grouping.n_unclustered} single items" if grouping.n_unclustered else ""
    return Entry(str(grouping.n_clusters), grouping.n_clusters, note=note)


def _seeds(row: Row) -> Entry:
    if row.is_unseeded:
        return Entry("unseeded", 0)
    n = row.comparison.effect.n_seeds if row.comparison else row.score.n_seeds if row.score else 0
    return Entry(str(n), n, note=f"{row.n_dropped_seeds} missing" if row.n_dropped_seeds else "")


def _shares(row: Row) -> Entry:
    if row.variance_shares is None:
        return _ABSENT
    return Entry(" / ".join(f"{100 * s:.0f}" for s in row.variance_shares), row.variance_shares[1])


def _discordant(row: Row) -> Entry:
    if row.comparison is None or row.comparison.discordant is None:
        return _ABSENT
    b, c = row.comparison.discordant
    return Entry(" / ".join(f"{x:.1f}".removesuffix(".0") for x in (b, c)), b + c)


def _validation(row: Row) -> Entry:
    if row.validation_score is None or row.score is None:
        return _ABSENT
    scale = wording.scale_of(row.metric)
    before, after = (wording.number(scale * x, 1) for x in (row.validation_score, row.score.mean))
    return Entry(f"{before} → {after}", row.validation_score)


def _speed(row: Row) -> Entry:
    if row.cost.tokens_per_second is None:
        return _ABSENT
    return Entry(f"{row.cost.tokens_per_second:.4g}", row.cost.tokens_per_second)


def _moved(row: Row) -> Entry:
    if row.displacement is None:
        return _ABSENT
    return Entry(f"{row.displacement:.3g}", row.displacement)


def _family(row: Row) -> Entry:
    return Entry(row.family or "–")


def _unbroken(test: str) -> str:
    return test.replace(SEED_ROBUST, "seed\N{NON-BREAKING HYPHEN}robust\N{NO-BREAK SPACE}t")


def _number(value: float | None, words: Callable[[float], str]) -> Entry:
    return _ABSENT if value is None else Entry(words(value), value)
