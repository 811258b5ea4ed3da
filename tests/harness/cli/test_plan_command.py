"""`steereval plan`: one screen for a large grid, every row on request."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from steereval.harness.cli.main import main
from steereval.harness.cli.plan_tables import MOST_ROWS, fitting_rows, noise_floor_sentence, rounded
from steereval.harness.config.grid import parse_grid
from steereval.harness.estimate.cost_outlook import CostRow
from steereval.harness.planning.plan import make_plan
from steereval.harness.planning.token_cost import Cost

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def table(text: str, heading: str) -> list[list[str]]:
    """The rows under the line that begins with `heading`, as words."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [heading])
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    return [line.split() for line in lines[start + 1 : end]]


@pytest.mark.slow
def test_the_papers_grid_fits_a_screen(no_hub: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLES / "paper.yaml")]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 40
    for task in ("truthfulqa_open", "mmlu_all"):
        assert text.count(f"\n{task} ") == 2
    assert "10172 cells" in text


@pytest.mark.slow
def test_all_rows_on_request(
    no_hub: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {
        "name": "g",
        "models": [{"name": f"org/model{number}", "layers": [1]} for number in range(5)],
        "contrast": "truthful-mini",
        "methods": ["none", *({"name": name, "strengths": [1, 2]} for name in ("caa", "repe"))],
        "tasks": [
            {"name": name, "limit": 8} for name in ("truthful_mini_mc", "arc_mini", "mmlu_mini")
        ],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(data))
    assert main(["plan", str(tmp_path / "grid.yaml")]) == 0
    short = capsys.readouterr().out
    assert main(["plan", str(tmp_path / "grid.yaml"), "--all"]) == 0
    whole = capsys.readouterr().out
    assert len(short.splitlines()) <= 40 < len(whole.splitlines())
    rows = table(whole, "MODEL")
    assert len(rows) == 5 * 3 * 3
    assert sum(int(row[-1]) for row in rows) == 5 * 3 * (1 + 2 + 2)
    assert short.count("Tokens not counted") == 1
    assert whole.count("Tokens not counted") == 5
    assert "\x1b" not in short + whole


def test_what_is_computed_twice() -> None:
    data = {
        "name": "g",
        "models": [{"name": "m", "layers": [1]}],
        "contrast": "truthful-mini",
        "methods": ["none", {"name": "caa", "strengths": [1]}],
        "tasks": ["truthful_mini_mc", "truthful_mini_gen"],
    }
    grid = parse_grid(data)
    assert "noise_floor" in noise_floor_sentence(grid, make_plan(grid))
    grid = parse_grid(data | {"noise_floor": {"method": "caa", "batch_size": 7}})
    sentence = noise_floor_sentence(grid, make_plan(grid))
    assert [word for word in sentence.rstrip(".").split() if word.isdecimal()] == ["4", "7"]


@pytest.mark.parametrize(
    ("models", "layers", "columns"),
    [(1, 2, {"model", "task", "layer"}), (2, 4, {"model", "task"}), (5, 4, {"task"})],
)
def test_rows_are_summed_until_they_fit(models: int, layers: int, columns: set[str]) -> None:
    rows = [
        CostRow(f"m{model}", f"t{task}", f"l{layer}", 1, Cost(tokens_unshared=1))
        for model in range(models)
        for task in range(4)
        for layer in range(layers)
    ]
    fitting = fitting_rows(rows)
    assert len(fitting) <= MOST_ROWS
    assert sum(row.cells for row in fitting) == len(rows)
    assert {name for name in ("model", "task", "layer") if getattr(fitting[0], name)} == columns


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1234, "1.23 k"), (5.52e18, "5.52 E")]
)
def test_rounded(number: float, text: str) -> None:
    assert rounded(number) == text
