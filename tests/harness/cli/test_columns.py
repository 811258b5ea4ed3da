"""Tables: fitted to a terminal, one line a row in a pipe."""

from __future__ import annotations

import re
import sys

import pytest

from steereval.harness.cli.columns import plain_lines, print_table, print_text
from steereval.harness.cli.main import main

ROWS = [("a", "1", "x" * 300), ("long name", "1000", "[bold]y[/bold]")]
HEADINGS = ("NAME", "COUNT", "TEXT")


def test_plain_lines() -> None:
    lines = plain_lines(HEADINGS, ROWS, numeric=("COUNT",))
    assert lines == [
        "NAME       COUNT  TEXT",
        "a              1  " + "x" * 300,
        "long name   1000  [bold]y[/bold]",
    ]


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_gets_no_longer_lines_than_it_has_columns(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(HEADINGS, ROWS, numeric=("COUNT",))
    print_text("word " * 50)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("x") == 300
    assert "[bold]y[/bold]" in text


@pytest.mark.parametrize("command", ["methods", "models", "tasks"])
def test_lists_in_a_pipe(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)
    start = lines[0].index("SUMMARY" if command == "methods" else "DESCRIPTION")
    table = lines[1 : lines.index("") if "" in lines else None]
    assert all(line[start - 1] == " " and line[start] != " " for line in table)
