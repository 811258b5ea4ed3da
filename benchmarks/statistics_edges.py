"""The test of a report where designs are hard: few or uneven clusters, skewed items, rare jumps.

    python benchmarks/statistics_edges.py                      # 4000 experiments a design
    python benchmarks/statistics_edges.py --repetitions 10000

No design has an effect. Prints Markdown tables, as `statistics_calibration.py` does too: of the
designs on which the thresholds of the cautions were set, and of two fresh groups. The exit status
is 1 where a size lies outside 0.03 to 0.07, or a coverage outside 0.93 to 0.97, by more than two
Monte Carlo standard errors, and fewer than nine in ten of the experiments carry a caution of
`results.stats.cautions`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from statistics_designs import FRESH, SECOND, TUNED, Edge
from statistics_report_test import Checked, Floats, Labels, cautions_of, differences

from steereval.results.stats.anova import mean_squares
from steereval.results.stats.student import quasi_f_df, t_tails

SIZE, COVERAGE, CAUTIONED = (0.03, 0.07), (0.93, 0.97), 0.9
BATCH = 200

GROUPS = (
    ("Hard designs: the test of a report, and its cautions.", TUNED),
    ("Designs that were not used for tuning the thresholds.", FRESH),
    ("Designs that were not used for any rule.", SECOND),
)


@dataclass(frozen=True)
class Result:
    """Size and coverage of the test in one design."""

    edge: Edge
    size: float
    coverage: float
    naive: float
    """Size of the crossed t on G - 1 degrees of freedom, with no guard."""
    cautioned: float
    """Share of the experiments that carry a caution."""
    caution: str
    """The most frequent one."""
    repetitions: int
    disagreements: int
    """Experiments in which the report itself says something else than these figures."""

    def broken(self) -> Iterator[str]:
        """The bounds that are missed without a caution."""
        if self.disagreements:
            yield f"{self.edge.name}, {self.edge.shape}: {self.disagreements} reports differ"
        if self.cautioned >= CAUTIONED:
            return
        for what, value, (low, high) in (
            ("size", self.size, SIZE),
            ("coverage", self.coverage, COVERAGE),
        ):
            slack = 2 * math.sqrt(max(value * (1 - value), 1e-4) / self.repetitions)
            if not low - slack <= value <= high + slack:
                yield f"{self.edge.name}, {self.edge.shape}: {what} {value:.3f}"


def measured(edge: Edge, repetitions: int) -> Result:
    """The figures of one design."""
    rng = np.random.default_rng(np.random.SeedSequence(list(f"{edge.name} {edge.shape}".encode())))
    tested, naive = Checked(edge.metric, edge.clusters, edge.folds), []
    for start in range(0, repetitions, BATCH):
        count = min(BATCH, repetitions - start)
        batch = np.stack([edge.draw(rng) for _ in range(count)])
        tested.add(batch)
        naive.append(naive_p(differences(batch, edge.metric), edge) < 0.05)
    marks = [cautions_of(effect) for effect in tested.effects]
    cautions = Counter(caution for raised in marks for caution in raised)
    return Result(
        edge,
        size=tested.size,
        coverage=tested.coverage,
        naive=float(np.mean(np.concatenate(naive))),
        cautioned=float(np.mean([bool(raised) for raised in marks])),
        caution=max(cautions, key=lambda each: cautions[each], default=""),
        repetitions=repetitions,
        disagreements=tested.disagreements,
    )


def naive_p(diffs: Floats, edge: Edge) -> Floats:
    """[experiments]: the crossed t as it stands in the books."""
    n = diffs.shape[1]
    labels: Labels = np.arange(n) if edge.clusters is None else edge.clusters
    folds = np.zeros(n, np.intp) if edge.folds is None else edge.folds
    table = mean_squares(diffs, labels, folds)
    item, seed, residual = table.squares
    total = np.maximum(item + seed - residual, item)
    degrees = (float(labels.max()), *table.degrees[1:])
    df = quasi_f_df(table.squares, degrees, total)
    se = np.maximum(np.sqrt(total / (n * diffs.shape[2])), 1e-300)
    return 2.0 * t_tails(np.abs(diffs.mean(axis=(1, 2))) / se, df)


def edge_table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    rows = [
        "| design | | size | coverage | size of the plain crossed t | cautioned | by |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in results:
        figures = (each.size, each.coverage, each.naive)
        cells = [f"{figure:.3f}" for figure in figures] + [f"{each.cautioned:.0%}", each.caution]
        rows.append("| " + " | ".join([each.edge.name, each.edge.shape, *cells]) + " |")
    return "\n".join(rows)


def main() -> int:
    """Print the tables; the status is 1 if a bound is missed without a caution."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    broken = edges(repetitions)
    print("\n" + ("\n".join(f"BROKEN: {what}" for what in broken) or "All bounds hold."))
    return 1 if broken else 0


def edges(repetitions: int) -> list[str]:
    """Print the tables; the bounds that are missed without a caution."""
    broken: list[str] = []
    for title, designs in GROUPS:
        results = [measured(edge, repetitions) for edge in designs]
        print(f"\n{title}\n\n{edge_table(results)}", flush=True)
        broken += [what for each in results for what in each.broken()]
    return broken


if __name__ == "__main__":
    sys.exit(main())
