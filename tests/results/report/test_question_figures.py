"""The figures of the questions: what they draw is what they tell, light and dark."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from fake_diagnosis import diagnosed_run, fake_diagnosis
from fake_run import FakeMethod
from matplotlib.figure import Figure as Drawing

from steereval.results.analysis.run_analysis import analyse
from steereval.results.questions.blocks import Curves, Dots, Line, Scatter
from steereval.results.questions.estimate import AUC, CHANGE, POINTS, SHARE, Estimate
from steereval.results.questions.evidence import Evidence
from steereval.results.report.blocks import pictures_of
from steereval.results.report.plots import curves_plot as curves_module
from steereval.results.report.plots import dots_plot as dots_module
from steereval.results.report.plots.curves_plot import MOST_BANDS, curves_plot
from steereval.results.report.plots.dots_plot import dots_plot
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.plots.palette import SERIES, darkened, with_variables
from steereval.results.report.plots.scatter_plot import scatter_plot
from steereval.results.report.question_blocks import questions_section
from steereval.results.store.diagnosis import (
    DIAGNOSIS_SCHEMA,
    Diagnosis,
    read_diagnoses,
    write_diagnosis,
)
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.storage import LocalStorage


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Picture]:
    return drawn(diagnosed_run(tmp_path_factory.mktemp("figures") / "run"))


def drawn(run: RunFolder) -> Sequence[Picture]:
    """The figures of all questions."""
    evidence = Evidence(analyse(run), run.read_manifest(), read_diagnoses(run.place))
    section = questions_section(evidence)
    assert section is not None
    return tuple(pictures_of(section.blocks))


def at(mean: float, half: float = 0.01) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 10, 10, 1)


def lines(number: int) -> tuple[Line, ...]:
    return tuple(
        Line(f"method {i}", (1.0, 2.0), (at(0.1 * i), at(0.1 * i + 0.05))) for i in range(number)
    )


def test_every_figure_is_drawn_once(pictures: Sequence[Picture]) -> None:
    names = [picture.name for picture in pictures]
    assert len(names) == len(set(names))
    assert {name.split("-")[0] for name in names} == {"q1", "q2", "q3", "q6", "q7", "q8"}


def test_every_colour_has_one_for_the_dark_and_one_on_the_page(
    pictures: Sequence[Picture],
) -> None:
    def colours(text: str) -> set[str]:
        return set(re.findall(r"#[0-9a-fA-F]{6}\b", text))

    for picture in pictures:
        assert not colours(picture.svg) & colours(darkened(picture.svg)), picture.name
        assert colours(with_variables(picture.svg)) == set(), picture.name


def test_figures_tell_their_numbers_in_words(pictures: Sequence[Picture]) -> None:
    """Those of the sentence are among them."""
    texts = {p.name.split("-tiny")[0]: p.alternative for p in pictures}
    texts = {name: text.replace("\N{NO-BREAK SPACE}", " ") for name, text in texts.items()}
    assert "fitted on other data: odesteer (10) 70.0 % [" in texts["q6-rises"]
    assert "its own, by construction: odesteer (10) 100 % [83, 100]" in texts["q6-rises"]
    assert "euler: 4.0" in texts["q3-errors"]
    assert "odesteer (10) 0.980 [" in texts["q8-cosines"]
    assert " at last" in texts["q2-auc"]


def test_names_of_lines_stand_in_the_key() -> None:
    result = curves_plot(Curves("c", "t", "x", "y", SHARE, lines(2), levels=(("chance", 0.5),)))
    assert all(f">{text}<" in result.svg for text in ("method 0", "method 1", "chance"))


def test_more_lines_than_colours_are_grey_and_named_in_words() -> None:
    result = curves_plot(Curves("c", "t", "x", "y", SHARE, lines(len(SERIES) + 2)))
    assert f">method {len(SERIES) - 1}<" in result.svg
    assert f">method {len(SERIES)}<" not in result.svg
    assert f"method {len(SERIES) + 1}: " in result.alternative


@pytest.mark.parametrize(("number", "bands"), [(1, 1), (MOST_BANDS, MOST_BANDS), (5, 1)])
def test_bands_do_not_hide_each_other(
    number: int, bands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = drawings(monkeypatch, curves_module)
    curves_plot(Curves("c", "t", "x", "y", SHARE, lines(number)))
    assert len(result[0].axes[0].collections) == bands


def drawings(monkeypatch: pytest.MonkeyPatch, module: object) -> list[Drawing]:
    """Will hold what `module` draws."""
    result: list[Drawing] = []

    def keep(figure: Drawing, name: str, title: str, alternative: str) -> Picture:
        result.append(figure)
        return Picture(name, title, alternative, "", b"", b"")

    monkeypatch.setattr(module, "finish", keep)
    return result


def test_logarithmic_axes_are_labelled_in_plain_numbers() -> None:
    line = Line("euler", (1.0, 10.0), (at(0.04, 0.001), at(0.00004, 0.000001)))
    ticks = ((1.0, "1"), (10.0, "10"))
    result = curves_plot(
        Curves("c", "t", "x", "y", SHARE, (line,), ticks=ticks, is_log_x=True, is_log_y=True)
    )
    assert "mathdefault" not in result.svg
    assert ">0.01<" in result.svg
    assert ">10<" in result.svg


def test_open_intervals_are_left_out_and_reported() -> None:
    lost = Estimate(0.5, -math.inf, math.inf, 1, 1, 1)
    dots = Dots("d", "t", "x", AUC, ("a", "b"), (Line("kind", (0.0, 1.0), (lost, at(0.7))),))
    curves = Curves("c", "t", "x", "y", AUC, (Line("kind", (0.0, 1.0), (lost, at(0.7))),))
    assert "a 0.50 [-∞, ∞]" in dots_plot(dots).alternative
    assert "kind: 0.50 [-∞, ∞] at 0" in curves_plot(curves).alternative


def test_kinds_of_dots_differ_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    result = drawings(monkeypatch, dots_module)
    kinds = tuple(Line(f"kind {i}", (0.0,), (at(0.5),)) for i in range(3))
    dots_plot(Dots("d", "t", "x", AUC, ("a",), kinds))
    marks = [line.get_marker() for line in result[0].axes[0].lines if line.get_marker() != "None"]
    assert len(marks) == len(set(marks)) == 3


def test_points_are_labelled() -> None:
    points = tuple((f"method {i}", at(-0.01 * i), at(0.02 * i)) for i in range(5))
    result = scatter_plot(Scatter("s", "t", "x", "y", (CHANGE, POINTS), points))
    assert all(f">method {i}<" in result.svg for i in range(5))
    text = result.alternative.replace("\N{NO-BREAK SPACE}", " ")
    assert "method 4: -4.0 % [-5.0, -3.0], +8.0 points [+7.0, +9.0]" in text


@pytest.mark.slow
def test_hostile_names_stay_names(tmp_path: Path) -> None:
    name = "<b>x</b> & $y$ _z_"
    run = diagnosed_run(tmp_path / "run", methods=(FakeMethod(name, (10.0,)),))
    diagnosis = fake_diagnosis().diagnosis()
    rows = [
        row | {"method": name if row["method"] == "odesteer" else row["method"]}
        for row in diagnosis.table.to_pylist()
    ]
    table = pa.Table.from_pylist(rows, schema=DIAGNOSIS_SCHEMA)
    write_diagnosis(LocalStorage(run.path), "tiny-14", Diagnosis(table, diagnosis.record))
    pictures = drawn(run)
    assert any("&lt;b&gt;x" in picture.svg for picture in pictures)
    assert all("<b>" not in picture.svg for picture in pictures)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", picture.name) for picture in pictures)
