"""The section on certainty: fit seeds, larger designs, the noise floor, common random numbers."""

from __future__ import annotations

from collections.abc import Mapping

from steereval.results.analysis.run_analysis import Analysis
from steereval.results.report.blocks import Block, Section, Text, figures
from steereval.results.report.plots.figures import FigureGroup
from steereval.results.report.tables.noise_floor import noise_floor_table, noise_words
from steereval.results.report.tables.secondary import coupling_table

RANDOM_NUMBERS = (
    "All arms draw an item's text with the same random numbers, so that their differences scatter "
    "less. Measured from the sample seeds of each item."
)


def certainty_section(analysis: Analysis, groups: Mapping[str, FigureGroup]) -> Section:
    """How far fits spread, what larger designs would detect, and what the machine adds."""
    words = noise_words(analysis.noise_floors, len(analysis.plan.repeats))
    blocks: list[Block] = []
    for name in ("seeds-figures", "power"):
        group = groups[name]
        caption = (Text(group.caption, "explain"),) if group.pictures else ()
        blocks += [*figures(group.pictures, group.absences), *caption]
    blocks.append(Text(words))
    if analysis.noise_floors:
        blocks.append(noise_floor_table(analysis.noise_floors, analysis.plan.confidence))
    if analysis.couplings:
        blocks += [Text(RANDOM_NUMBERS, "explain"), coupling_table(analysis.couplings)]
    return Section(
        "certainty", "Seeds, power and noise", tuple(blocks), "how far fits spread, what is missed"
    )
