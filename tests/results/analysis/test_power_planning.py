"""`steereval power`: plans from a pilot and from variances."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.harness.cli.main import main
from steereval.results import stats
from steereval.results.analysis.run_analysis import analyse
from steereval.results.stats import Variances, detectable_effects


def power(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["power", *arguments]) == 0
    return capsys.readouterr().out


def test_given_variances_make_a_table_and_the_least_designs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = power(
        capsys, "--var-item", "0.1", "--effect", "0.031", "--items", "400", "817", "--seeds", "1"
    )
    assert "| 817 | 3.1 |" in text
    n = stats.least_items(0.031, stats.Variances(0.1, 0.0, 0.0), 1)
    assert f"- with 1 seed: {n} items" in text
    assert "- with 400 items: no number of seeds suffices" in text


def test_a_pilot_gives_the_variances(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    task = FakeTask("truth", kind="bounded", n_validation=0, n_test=100)
    run = FakeRun(methods=(FakeMethod("caa"), FakeMethod("repe")), tasks=(task,))
    folder = write_run(run, tmp_path)
    text = power(capsys, str(folder.path), "--method", "caa", "--items", "100", "--seeds", "5")
    assert "## tiny: caa (layer 14) on truth, acc" in text
    assert "repe" not in text
    (row,) = [row for row in analyse(folder).rows if row.arm.method == "caa"]
    assert row.mde is not None
    assert row.comparison is not None
    least = float(detectable_effects(Variances.of(row.comparison.effect), 100, 5))
    assert f"| 100 | {100 * least:.1f} |" in text
    assert least <= row.mde, "the report's own test needs at least as much"


def test_a_pilot_with_one_seed_says_that_it_knows_nothing_of_seeds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = FakeTask("ppl", kind="ratio", higher_is_better=False, n_validation=0, n_test=40)
    run = FakeRun(methods=(FakeMethod("caa"),), tasks=(task,), fit_seeds=(0,))
    text = power(capsys, str(write_run(run, tmp_path).path), "--effect", "0.05")
    assert "One seed says nothing about the seeds' variance" in text
    assert re.search(r"\| 100 \| × 1\.\d{3} \|", text)
    assert "To detect × 1.050" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--var-item"),
        (("--var-item", "-1"), "those of no difference"),
        (("--var-item", "0.1", "--items", "0"), "not a design"),
        (("--var-item", "0.1", "--effect", "-1"), "wanted effect is -1"),
        (("--var-item", "0.1", "--power", "1"), "power is 1"),
        (("RUN", "--var-item", "0.1"), "both a pilot and variances"),
        (("RUN", "--method", "cab"), "It has: caa on truth"),
    ],
)
def test_bad_questions_are_answered_with_a_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    task = FakeTask("truth", n_validation=0, n_test=20)
    write_run(FakeRun(methods=(FakeMethod("caa"),), tasks=(task,), fit_seeds=(0,)), tmp_path)
    given = [str(tmp_path) if argument == "RUN" else argument for argument in arguments]
    assert main(["power", *given]) == 2
    assert words in capsys.readouterr().err
