"""All metrics with what their rows rest on, and published figures."""

from __future__ import annotations

from steereval.common.text import slug
from steereval.results.analysis.judge_coverage import not_measured, products_of_means
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.blocks import Block, Fold, Section, Text
from steereval.results.report.plots.figures import Key
from steereval.results.report.tables.by_subtask import EXPLORATORY, by_subtask_table
from steereval.results.report.tables.leaderboard import basis_table, result_table
from steereval.results.report.tables.published import published_tables


def metrics_section(analysis: Analysis) -> Section:
    """The leaderboard: a table for each model, task and metric, secondary metrics folded."""
    groups: dict[Key, list[Row]] = {}
    for row in analysis.rows:
        groups.setdefault((row.model, row.task.name, row.metric.name), []).append(row)
    blocks: list[Block] = [Text(text, "absent") for text in not_measured(analysis.plan.tasks)]
    for (model, task), keys in _by_task(groups).items():
        tables = tuple(block for key in keys for block in _tables(analysis, key, groups[key]))
        tables += _subtasks(analysis, model, task)
        n = len(keys)
        hint = f"{n} metric{'s' if n > 1 else ''}"
        where = f"{model}: {task}" if len(analysis.models) > 1 else task
        blocks.append(Fold(where, tables, (hint,)))
    n_metrics = len({(task, metric) for _, task, metric in groups})
    hint = f"{n_metrics} metric{'s' if n_metrics != 1 else ''}, with what every row rests on"
    return Section("leaderboard", "All metrics", tuple(blocks), hint)


def published_section(analysis: Analysis) -> Section | None:
    """Figures of others under measured ones; None where there are none."""
    tables = tuple(published_tables(analysis.rows, products_of_means(analysis.rows)))
    if not tables:
        return None
    return Section("published", "Published figures", tables, "not measured here")


def _subtasks(analysis: Analysis, model: str, task: str) -> tuple[Block, ...]:
    """The scores by subtask of a group; nothing for another task."""
    scores = [each for each in analysis.subtasks if (each.model, each.task.name) == (model, task)]
    tables = tuple(by_subtask_table(each) for each in scores)
    return (Fold("By subtask", (Text(EXPLORATORY, "explain"), *tables)),) if tables else ()


def _by_task(groups: dict[Key, list[Row]]) -> dict[tuple[str, str], list[Key]]:
    keys_of: dict[tuple[str, str], list[Key]] = {}
    for key in groups:
        keys_of.setdefault(key[:2], []).append(key)
    return keys_of


def _tables(analysis: Analysis, key: Key, rows: list[Row]) -> tuple[Block, ...]:
    products = products_of_means(analysis.rows)
    basis = basis_table(rows, slug(*key))
    return (
        result_table(rows, slug(*key), analysis.plan.confidence, products),
        Fold("What it rests on: choices, counts, tests, variances", (basis,)),
    )
