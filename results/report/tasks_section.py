"""The section on all tasks and models together: macro-mean, replication, profiles, ranks."""

from __future__ import annotations

from collections.abc import Mapping

from steereval.results.analysis import Analysis
from steereval.results.report.across_grid import across_grid
from steereval.results.report.blocks import Block, Section, Text, figures
from steereval.results.report.figures import FigureGroup
from steereval.results.report.other_grids import replication_grid

CLAIMS = (
    "A claim of k tasks or models counts the verdicts above, by their adjusted p-values, so it "
    "never says more than they do. A mean over tasks asks another question: it may be clear where "
    "no single task is."
)


def tasks_section(analysis: Analysis, groups: Mapping[str, FigureGroup]) -> Section:
    """What holds over all target tasks, and over models."""
    blocks: list[Block] = []
    if analysis.across or analysis.replications:
        blocks.append(Text(CLAIMS, "explain"))
    blocks += [across_grid(each, analysis.plan.confidence) for each in analysis.across]
    if analysis.replications:
        blocks.append(replication_grid(analysis.replications))
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
