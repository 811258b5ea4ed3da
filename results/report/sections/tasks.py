"""The section on all tasks and models together: macro-mean, replication, profiles, ranks."""

from __future__ import annotations

from collections.abc import Mapping

from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.blocks import Block, Section, Text, figures
from steereval.results.report.plots.figures import FigureGroup
from steereval.results.report.tables.across_tasks import across_tasks_table
from steereval.results.report.tables.secondary import replication_table

CLAIMS = (
    "A claim of k tasks or models counts the verdicts above, by their adjusted p-values, so it "
    "never says more than they do. A mean over tasks asks another question: it may be clear where "
    "no single task is."
)


def tasks_section(analysis: Analysis, groups: Mapping[str, FigureGroup]) -> Section:
    """Results over all target tasks, and over models."""
    blocks: list[Block] = []
    if analysis.across or analysis.replications:
        blocks.append(Text(CLAIMS, "explain"))
    blocks += [across_tasks_table(each, analysis.plan.confidence) for each in analysis.across]
    if analysis.replications:
        blocks.append(replication_table(analysis.replications))
    blocks += [Text(sentence, "absent") for sentence in groups["capability"].absences]
    for name in ("profiles", "ranks"):
        group = groups[name]
        caption = (Text(group.caption, "explain"),) if group.pictures else ()
        blocks += [*figures(group.pictures, group.absences), *caption]
    return Section("across", "All tasks and models together", tuple(blocks), _hint(analysis))


def _hint(analysis: Analysis) -> str:
    n_tasks = sum(task.is_target for task in analysis.plan.tasks.values())
    n_models = len(analysis.models)
    tasks = f"{n_tasks} target task{'s' if n_tasks != 1 else ''}"
    return f"{tasks}, {n_models} model{'s' if n_models != 1 else ''}"
