"""Commands and their listeners report that they work while nothing ends."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from steereval.common.activity import Activity, doing
from steereval.harness.cli import command as module
from steereval.harness.cli.command import command
from steereval.harness.judging.rows import JudgeListener
from steereval.results.store.progress import begin_progress, read_progress
from steereval.results.store.run_folder import RunFolder


@pytest.mark.slow
def test_a_command_that_prints_nothing_reports_its_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.0)
    spoke = threading.Event()

    @command("read")
    def read() -> None:
        """Read."""
        with doing("reading rows"):
            for _ in range(100):
                if spoke.wait(0.1):
                    return
                if "reading rows" in capsys.readouterr().err:
                    spoke.set()

    read.main([], standalone_mode=False)
    assert spoke.is_set()


def test_a_command_that_waits_for_others_prints_nothing() -> None:
    from steereval.harness.cli.index import cli

    silent = {name for name, each in cli.commands.items() if getattr(each, "is_silent", False)}
    assert silent == {"watch", "logs", "lm-eval"}


def test_judging_is_reported_and_renews_the_progress(tmp_path: Path) -> None:
    run, lines, now = RunFolder(tmp_path), list[str](), [0.0]
    run.create()
    begin_progress(run.place, "driver", planned=3, finished=3)
    listener = JudgeListener(run, "", 3, lines.append, clock=lambda: now[0])
    units = (object(), object())
    listener.began(units, "here")
    for second in range(25):
        now[0] = float(second)
        listener.advanced(units, Activity("loading the model"))
    spoken = [line for line in lines if line.startswith("loading the model")]
    assert len(spoken) == 3, "about every ten seconds"
    progress = read_progress(run.place)
    assert progress is not None
    assert progress.phases[0].startswith("loading the model 2 cells")
