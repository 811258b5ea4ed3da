"""Common random numbers: what they save is told apart from what pairing by item saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, Floats, generator_of, write_run

from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report
from steereval.results.store.run_folder import RunFolder

TASK = FakeTask("written", kind="continuous", n_validation=1, n_test=1500)


def sampled(shared: float, seeds: tuple[int, ...] = (0, 1, 2, 3)) -> FakeRun:
    """Item difficulty of variance 4 and noise of variance 1, a share of which all arms share."""

    def value(cell: dict[str, Any], values: Floats) -> Floats:
        n = len(values)
        difficulty = 2 * generator_of("difficulty").normal(size=n)
        common = generator_of("common", cell["sample_seed"]).normal(size=n)
        noise = generator_of("own", *cell.values()).normal(size=n)
        return difficulty + np.sqrt(shared) * common + np.sqrt(1 - shared) * noise

    return FakeRun(
        (FakeMethod("caa"),),
        (TASK,),
        fit_seeds=(0, 1),
        sample_seeds=seeds,
        select=None,
        value=value,
    )


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_the_share_of_the_noise_that_is_shared_is_found(tmp_path: Path, shared: float) -> None:
    run = write_run(sampled(shared), tmp_path / "run")
    (analyses,) = analyse(run).couplings
    assert (analyses.n_items, analyses.n_draws) == (1500, 4)
    assert analyses.removed.estimate == pytest.approx(shared, abs=0.06)
    assert analyses.removed.low < shared + 0.02
    assert analyses.removed.high > shared - 0.02
    # Over four draws and two fit seeds, of which the unseeded baseline has one.
    unshared = (1 - shared) * (1 / 2 + 1) / 4
    saved = 2 * shared / 4
    assert analyses.items_saved == pytest.approx(saved / (unshared + saved), abs=0.08)


def test_one_sample_seed_says_nothing(tmp_path: Path) -> None:
    run = write_run(sampled(0.5, seeds=(0,)), tmp_path / "run")
    assert analyse(run).couplings == ()


@pytest.mark.slow
def test_the_report_shows_it(tmp_path: Path) -> None:
    run: RunFolder = write_run(sampled(1.0), tmp_path / "run")
    page = build_report(run).read_text()
    assert "What common random numbers save" in page
    assert "100 %" in page
