"""How well a barrier separates held-out statements, and whether its probabilities are true."""

from __future__ import annotations

import numpy as np
from scipy import special

from steereval.results.questions.barrier import CROSSFIT, JUDGE_WORDS, OWN
from steereval.results.questions.blocks import Heading, Shown, Table, shown
from steereval.results.questions.estimate import AUC, Estimate, auc_of
from steereval.results.questions.evidence import Evidence, Setting, Where
from steereval.results.questions.matrix import Matrix
from steereval.results.questions.paths import ends_of
from steereval.results.stats import Calibration, calibration


def probe_words(evidence: Evidence, where: Where, subject: Setting) -> str:
    """AUC and calibration of the barrier that was fitted on other data; empty if not measured."""
    probe = _probe_of(evidence, where, subject, CROSSFIT)
    if probe is None:
        return ""
    area, calibrated = probe
    if calibrated.is_off:
        calibration = f"its probabilities are off (ECE {calibrated.error:.2f}"
    else:
        calibration = (
            f"its probabilities are no further off than by chance (ECE {calibrated.error:.2f}"
        )
    return (
        f"the barrier fitted on other data separates held-out statements with AUC "
        f"{area.words(AUC)}, and {calibration}, by chance up to {calibrated.chance_bound:.2f})"
    )


def _probe_of(
    evidence: Evidence, where: Where, subject: Setting, judge: str
) -> tuple[Estimate, Calibration] | None:
    """AUC and calibration of a barrier on activations that nothing steered."""
    ends = ends_of(evidence, where, "log_ratio", judge).get(subject)
    if ends is None or ends.start.labels is None:
        return None
    area = auc_of(ends.start, evidence.confidence)
    return None if area is None else (area, calibration_of(ends.start))


def calibration_of(h: Matrix) -> Calibration:
    """The calibration of sigma(h + log(n+/n-)), h being a log density ratio; of the first seed."""
    assert h.labels is not None
    positive = int(np.count_nonzero(h.labels))
    prior = np.log(positive / (len(h.labels) - positive))
    return calibration(special.expit(h.values[:, 0] + prior), h.labels)


def probe_table(evidence: Evidence, where: Where, subject: Setting) -> tuple[Table, ...]:
    """The barriers that judge `subject`; no table if none was measured with both classes."""
    headings = (
        Heading("Barrier", numeric=False),
        Heading("AUC", "Of held-out statements; 0.5 says nothing"),
        Heading("ECE", "Expected calibration error, bins of equally many items"),
        Heading(
            "By chance", "What true probabilities would show on average, and in one of 20 cases"
        ),
        Heading("Items"),
    )
    rows = []
    for judge in (CROSSFIT, OWN):
        if (probe := _probe_of(evidence, where, subject, judge)) is not None:
            area, calibration = probe
            chance = f"{calibration.by_chance:.3f}, up to {calibration.chance_bound:.3f}"
            rows.append(
                (
                    Shown(JUDGE_WORDS[judge].split(",")[0]),
                    shown(area, AUC),
                    Shown(f"{calibration.error:.3f}", calibration.error),
                    Shown(chance, calibration.by_chance),
                    Shown(str(calibration.n_items), calibration.n_items),
                )
            )
    caption = f"The probe of {subject.method} before steering: {where.words}"
    return (Table(f"q7-probe-{where.name}", caption, headings, tuple(rows)),) if rows else ()
