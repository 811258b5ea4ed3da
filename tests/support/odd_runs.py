"""Runs that leave a report with little to say, each of which it must put into right words."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from fake_run import FakeMethod, FakeRun, FakeTask

Floats = npt.NDArray[np.float64]


def small(**changes: Any) -> FakeRun:
    run = FakeRun(
        methods=(FakeMethod("caa", (1.0, 2.0)),),
        tasks=(FakeTask("truth", n_validation=10, n_test=30),),
        fit_seeds=(0, 1, 2),
        repeated=("none", "caa"),
    )
    return dataclasses.replace(run, **changes)


def infinite(cell: dict[str, Any], values: Floats) -> Floats:
    return np.where((cell["method"] == "caa") & (np.arange(len(values)) == 39), np.inf, values)


PPL = FakeTask(
    "ppl", metric="perplexity", kind="ratio", higher_is_better=False, n_validation=10, n_test=30
)

ODD_RUNS = {
    "most cells failed": small(fails=lambda cell: int(cell["cell_id"], 16) % 10 < 6),
    "all cells failed": small(fails=lambda cell: True),
    "one seed": small(fit_seeds=(0,)),
    "one item": small(tasks=(FakeTask("truth", n_validation=0, n_test=1),)),
    "only the baseline": small(methods=()),
    "constant scores": small(value=lambda cell, values: np.ones_like(values)),
    "constant zeros": small(value=lambda cell, values: np.zeros_like(values)),
    "infinite values": small(tasks=(PPL,), value=infinite),
    "all infinite": small(tasks=(PPL,), value=lambda cell, v: np.full_like(v, np.inf)),
    "huge perplexity": small(tasks=(PPL,), value=lambda c, v: v * 80.0),
    "no baseline": small(baseline=False),
    "nothing chosen": small(select=None),
    "no validation items": small(tasks=(FakeTask("truth", n_validation=0, n_test=9),)),
    "only validation items": small(tasks=(FakeTask("truth", n_validation=9, n_test=0),)),
    "one method at one strength": small(methods=(FakeMethod("caa"),)),
    "negative and large strengths": small(methods=(FakeMethod("caa", (-2.0, 0.5, 64.0)),)),
}
