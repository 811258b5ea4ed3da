"""Parsing, help and suggestions of the command line, whatever the command does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from steereval.harness.cli.command import Command, Group
from steereval.harness.cli.index import SECTIONS, cli
from steereval.harness.cli.main import COMPLETE, main
from steereval.harness.cli.usage import usage_sentence

ROOT = Path(__file__).parents[3]


def all_commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    commands: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        commands[" ".join((*path, name))] = command
        if isinstance(command, click.Group):
            commands |= all_commands(command, (*path, name))
    return commands


def parse(*words: str) -> dict[str, Any]:
    """What the callback of a command gets."""
    return cli.commands[words[0]].make_context(words[0], list(words[1:])).params


def test_every_command_is_in_one_section() -> None:
    names = [name for section in cli.sections.values() for name in section]
    assert sorted(names) == sorted(cli.commands)
    assert list(SECTIONS) == ["Run", "Inspect", "Share", "Cluster"]
    assert len(names) == 22


def test_the_help_lists_the_commands_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for heading, names in cli.sections.items():
        start = lines.index(f"{heading}:")
        end = lines.index("", start)
        listed = [line.split()[0] for line in lines[start + 1 : end] if line[2] != " "]
        assert listed == list(names)


@pytest.mark.parametrize("name", sorted(set(all_commands()) - {"lm-eval"}))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every parameter has a help text; every example is a line of the help, and parses."""
    command = all_commands()[name]
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert command.help
    assert command.get_short_help_str() == command.help.split("\n")[0]
    assert all(parameter.help for parameter in command.params)  # type: ignore[attr-defined]
    if isinstance(command, Group):
        return
    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        assert f"  {example}\n" in text
        words = example.split(" < ")[0].split(" > ")[0].split(" | ")[0].split()
        if words[0] != "steereval":
            continue
        words = words[1 + len(name.split()) :]
        if '"' in example:
            start = next(i for i, word in enumerate(words) if word.startswith('"'))
            words = [*words[:start], " ".join(words[start:]).strip('"')]
        command.make_context(name, words)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["steereval", version("steereval")]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["no command", "steereval --help"]),
        (["rnu"], ["'rnu'", "'run'"]),
        (["qqqq"], ["'qqqq'", "plan, power"]),
        (["cluster"], ["no command", "steereval cluster --help"]),
        (["cluster", "slrm"], ["'slrm'", "'slurm'"]),
        (["plan"], ["GRID is missing"]),
        (["run", "g.yaml"], ["--out is missing"]),
        (["run", "g.yaml", "--out"], ["'--out'", "steereval run --help"]),
        (["run", "g.yaml", "--out", "r", "--wrokers", "2"], ["'--wrokers'", "'--workers'"]),
        (["run", "g.yaml", "--out", "r", "--xyzzy"], ["'--xyzzy'", "steereval run --help"]),
        (["run", "g.yaml", "--out", "r", "--workers", "two"], ["--workers", "'two'", "number"]),
        (["run", "g.yaml", "--out", "r", "--progress", "no"], ["'no'", "'json'"]),
        (["plan", "g.yaml", "h.yaml"], ["h.yaml", "steereval plan --help"]),
        (["models", "ftch"], ["'ftch'", "'fetch'"]),
        (["import", "--into", "r", "--label", "x"], ["SAMPLES is missing"]),
        (["power", "--items", "many"], ["--items", "'many'"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_words_that_cannot_be_parsed(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the command, the word at fault and the remedy; status 2."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("steereval")
    assert "error: " in line
    for part in parts:
        assert part in line


def test_an_error_without_a_command_is_still_a_sentence() -> None:
    assert "`steereval --help`" in usage_sentence(click.UsageError("Something is odd."))


def test_several_values_after_one_option() -> None:
    values = parse(
        "power", "--items", "100", "200", "--seeds", "1", "--items", "300", "--alpha=0.1"
    )
    assert (values["items"], values["seeds"]) == ((100, 200, 300), (1,))
    assert parse("power", "--items=100", "--power", "0.9")["items"] == (100,)


@pytest.mark.parametrize(
    ("words", "value"), [([], None), (["--baseline"], True), (["--no-baseline"], False)]
)
def test_a_baseline_is_made_removed_or_left(words: list[str], value: bool | None) -> None:
    given = parse("import", "a.jsonl", "b.jsonl", "--into", "r", "--label", "x", *words)
    assert given["samples"] == ("a.jsonl", "b.jsonl")
    assert given["baseline"] is value


def test_a_traceback_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "no.yaml"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["plan", "no.yaml", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_has_its_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands["methods"], "callback", interrupted)
    assert main(["methods"]) == 130


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        ("steereval re", {"rescore", "report"}),
        ("steereval cluster ", {"kuberay", "slurm", "ray-up"}),
        ("steereval run --work", {"--workers"}),
        ("steereval models fetch sm", {"smollm2-135m"}),
    ],
)
def test_completion(words: str, candidates: set[str]) -> None:
    """As bash asks: the words and the number of the one at the cursor in the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "steereval"],
        env=os.environ
        | {
            COMPLETE: "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    completions = {line.split(",")[1] for line in done.stdout.splitlines()}
    assert {name for name in completions if name.startswith(words.split(" ")[-1])} == candidates


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPLETE, f"{shell}_source")
    assert main([]) == 0
