"""Figures: right in what they draw and tell, light and dark, and worded where nothing is drawn."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from fake_run import FakeMethod, FakeRun, FakeTask, write_run
from matplotlib.figure import Figure
from PIL import Image

from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report.plots import power_plot, profile_plot, rank_plot
from steereval.results.report.plots.drawing import Picture
from steereval.results.report.plots.error_bars import draw_bar, room_for
from steereval.results.report.plots.figures import FigureGroup, figure_groups
from steereval.results.report.plots.label_placement import DOT, WIDEST, Box, place_labels
from steereval.results.report.plots.palette import darkened, with_variables
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.slow

GROUPS = [
    *("differences", "seeds-figures", "responses", "collapse", "choosing-figures"),
    *("capability", "profiles", "power", "ranks"),
]


@pytest.fixture(scope="module")
def analysis(planted_run: RunFolder) -> Analysis:
    return analyse(planted_run)


@pytest.fixture(scope="module")
def groups(analysis: Analysis) -> dict[str, FigureGroup]:
    return {group.name: group for group in figure_groups(analysis)}


def test_every_kind_is_drawn_or_reported_with_the_reason(groups: dict[str, FigureGroup]) -> None:
    assert list(groups) == GROUPS
    drawn = {name: len(group.pictures) for name, group in groups.items()}
    assert drawn == {
        "differences": 3,
        "seeds-figures": 3,
        "responses": 3,
        "collapse": 0,
        "choosing-figures": 2,
        "capability": 2,
        "profiles": 0,
        "power": 3,
        "ranks": 0,
    }
    assert groups["ranks"].absences == (
        "tiny: ranks need 10 target tasks or more, and there are 2.",
    )
    drawn_all = set(groups) - {"ranks", "collapse", "profiles"}
    assert all(groups[name].absences == () for name in drawn_all)


def test_figures_tell_their_data_in_words(
    groups: dict[str, FigureGroup], analysis: Analysis
) -> None:
    """A reader who does not see them learns every estimate."""
    texts = {p.name: p.alternative for group in groups.values() for p in group.pictures}
    rows = {r.arm.method: r for r in analysis.rows if r.task.name == "truth" and r.comparison}
    for method, row in rows.items():
        assert row.comparison is not None
        assert (
            f"{100 * row.comparison.effect.estimate:+.1f} points" in texts["forest-tiny-truth-acc"]
        )
        assert f"{method} (layer 14): " in texts["seeds-tiny-truth-acc"]
        assert f"{method} (layer 14): " in texts["capability-tiny-truth-capability"]
    assert "harms (layer 14): 5 seeds from -" in texts["seeds-tiny-truth-acc"]
    assert "at 4" in texts["strength-tiny-truth-acc"]
    assert "on validation items" in texts["choosing-tiny-truth-acc"]
    assert "240 items, 5 seeds" in texts["power-tiny-truth-acc"]


def test_dots_of_the_seed_plot_are_the_seeds(
    groups: dict[str, FigureGroup], analysis: Analysis
) -> None:
    """The extreme dots that the words name are the extreme means of the fits."""
    (row,) = (r for r in analysis.rows if (r.arm.method, r.task.name) == ("helps", "truth"))
    assert row.comparison is not None
    means = 100 * row.comparison.values.mean(axis=0)
    text = groups["seeds-figures"].pictures[0].alternative
    assert f"helps (layer 14): 5 seeds from {means.min():+.1f} to {means.max():+.1f}" in text


def test_both_files_exist_in_light_and_dark(groups: dict[str, FigureGroup]) -> None:
    picture = groups["differences"].pictures[0]
    light, dark = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB"), float)
                   for p in (picture.png, picture.dark_png))  # fmt: skip
    assert light.shape == dark.shape
    assert tuple(light[0, 0]) == (255, 255, 255)
    assert tuple(dark[0, 0]) == (0x17, 0x1C, 0x23)
    ink = (light.sum(axis=2) < 3 * 110).mean()
    pale = (dark.sum(axis=2) > 3 * 200).mean()
    assert 0.002 < ink < 0.2
    assert 0.002 < pale < 0.2
    assert "#ffffff" in picture.svg
    assert "#ffffff" not in picture.dark_svg


def colours(text: str) -> set[str]:
    return set(re.findall(r"#[0-9a-fA-F]{6}\b", text))


def test_every_colour_has_one_for_the_dark_and_one_on_the_page(
    groups: dict[str, FigureGroup],
) -> None:
    for group in groups.values():
        for picture in group.pictures:
            assert not colours(picture.svg) & colours(darkened(picture.svg)), picture.name
            assert colours(with_variables(picture.svg)) == set(), picture.name


def test_letters_can_be_read_on_a_phone(groups: dict[str, FigureGroup]) -> None:
    """At 390 pixels a figure is about 345 wide: no letter may be smaller than 9 pixels there."""
    for group in groups.values():
        for picture in group.pictures:
            width = float(re.search(r'width="([\d.]+)pt"', picture.svg)[1])  # type: ignore[index]
            sizes = [float(s) for s in re.findall(r"font-size: ([\d.]+)px", picture.svg)]
            assert sizes, picture.name
            assert min(sizes) * 345 / width >= 9.0, picture.name


def test_a_profile_falls_from_all_runs_to_none() -> None:
    x, y = profile_plot.profile_steps(np.array([3.0, 1.0, 1.0, -2.0]), (-5.0, 5.0))
    assert list(y[[0, -1]]) == [100.0, 0.0]
    for threshold, share in ((-3.0, 100), (-1.0, 75), (0.9, 75), (1.1, 25), (2.9, 25), (3.1, 0)):
        assert y[np.searchsorted(x, threshold) - 1] == pytest.approx(share), threshold


def test_cliques_are_the_largest_groups_within_the_difference() -> None:
    """Demšar 2006, figure 1b: ranks 1.964, 2.000, 2.893, 3.143 and CD 1.25."""
    assert rank_plot.cliques([1.964, 2.0, 2.893, 3.143], 1.25) == [(0, 3)]
    assert rank_plot.cliques([1.964, 2.0, 2.893, 3.143], 1.16) == [(0, 2), (1, 3)]
    assert rank_plot.cliques([1.964, 2.0, 2.893, 3.143], 0.3) == [(0, 1), (2, 3)]
    assert rank_plot.cliques([1.0, 3.0], 1.0) == []


@pytest.mark.slow
def test_ranks_are_drawn_from_ten_tasks_on(tmp_path: Path) -> None:
    methods = tuple(
        FakeMethod(name, effect=lambda task, s, e=effect: e)  # type: ignore[misc]
        for name, effect in (("best", 0.4), ("middle", 0.2), ("worst", -0.4))
    )
    tasks = tuple(FakeTask(f"t{i}", n_validation=0, n_test=60) for i in range(10))
    run = FakeRun(methods, tasks, fit_seeds=(0,), select=None)
    analysis = analyse(write_run(run, tmp_path))
    (picture,) = (group.pictures[0] for group in figure_groups(analysis) if group.name == "ranks")
    (across,) = analysis.across
    assert across.friedman is not None
    steered = {f"{name} (layer 14)" for name in ("best", "middle", "worst")}
    assert set(across.ranked) == {"none", *steered}
    mean = across.friedman.ranks[across.ranked.index("best (layer 14)")]
    assert picture.alternative.startswith(f"best {mean:.2f}; ")
    assert f"critical difference {across.friedman.critical_difference:.2f}" in picture.svg
    rows = [row for row in analysis.rows if row.is_confirmatory]
    profile = profile_plot.profile_plot(rows)
    assert isinstance(profile, Picture)
    assert "best (layer 14): improves in" in profile.alternative


def test_names_cover_neither_each_other_nor_a_point() -> None:
    """Twelve names of methods, four of them at points that nearly touch."""
    points = [(0.0, 0.0), (0.05, 0.0), (0.0, 0.05), (0.05, 0.05)]
    points += [(x / 4, math.sin(x)) for x in range(8)]
    figure = Figure(figsize=(4.2, 3.1))
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), "o")
    names = [f"method_{i}" for i in range(len(points))]
    boxes = place_labels(axes, points, names)
    assert [text.get_text() for text in axes.texts] == names
    pixels = axes.transData.transform(points) * 72 / figure.dpi
    dots = [Box(float(x), float(y), 2 * DOT, 2 * DOT) for x, y in pixels]
    for a, b in itertools.combinations(boxes, 2):
        assert a.overlap(b) == 0.0
    assert all(box.overlap(dot) == 0.0 for box in boxes for dot in dots)


def test_a_name_that_finds_no_room_is_written_all_the_same() -> None:
    figure = Figure(figsize=(2, 2))
    axes = figure.add_subplot()
    boxes = place_labels(axes, [(0.5, 0.5)] * 60, ["a name of some length"] * 60)
    assert len(boxes) == len(axes.texts) == 60
    assert all(len(text.get_text()) <= WIDEST for text in axes.texts)


def test_no_error_bar_is_clipped(analysis: Analysis) -> None:
    """Every finite interval that a score or difference can have lies within the axes."""
    for row in (row for row in analysis.rows if row.comparison is not None):
        assert row.comparison is not None
        effect = row.comparison.effect
        ends = [100 * effect.low, 100 * effect.high]
        low, high = room_for([0.0, 100 * effect.estimate], ends, (-100.0, 100.0))
        assert low < min(ends)
        assert high > max(ends)


@pytest.mark.parametrize("end", [math.inf, 5000.0])
def test_an_unbounded_interval_ends_in_an_arrowhead(end: float) -> None:
    axes = Figure().add_subplot()
    limits = room_for([0.0, 5.0], [-end, end], (-100.0, 100.0))
    assert -120 < limits[0] < limits[1] < 120
    draw_bar(axes, (-end, end), 1.0, limits, is_level=True, color="k")
    assert [line.get_marker() for line in axes.lines] == ["None", "<", ">"]


def small(**changes: Any) -> FakeRun:
    run = FakeRun(
        methods=(FakeMethod("caa", (1.0, 2.0)), FakeMethod("iti", (1.0, 2.0))),
        tasks=(FakeTask("truth", n_validation=10, n_test=30),),
        fit_seeds=(0, 1, 2),
    )
    return dataclasses.replace(run, **changes)


ABSENT = {
    "one seed": (small(fit_seeds=(0,)), "seeds-figures", "no method was fitted with several seeds"),
    "one strength": (
        small(methods=(FakeMethod("caa"),)),
        "responses",
        "no method has scores at two strengths",
    ),
    "nothing chosen": (
        small(methods=(FakeMethod("caa"),)),
        "choosing-figures",
        "every method has one strength, so nothing was chosen",
    ),
    "no choice at all": (small(select=None), "choosing-figures", "No strength was chosen"),
    "no capability": (small(), "capability", "no task with `role: capability`"),
    "one task": (small(), "profiles", "3 target tasks in points or more, and the run has 1"),
    "constant scores": (
        small(
            tasks=(FakeTask("truth", kind="continuous", n_validation=10, n_test=30),),
            value=lambda cell, values: np.ones_like(values),
        ),
        "power",
        "no item differs",
    ),
    "one item": (
        small(tasks=(FakeTask("truth", n_validation=0, n_test=1),)),
        "power",
        "one item or cluster cannot show how items differ",
    ),
    "all failed": (small(fails=lambda cell: True), "differences", "nothing could be compared"),
    "no method": (small(methods=()), "differences", "nothing could be compared"),
}


@pytest.mark.parametrize("name", ABSENT)
def test_a_plot_that_cannot_be_drawn_is_reported(name: str, tmp_path: Path) -> None:
    run, kind, reason = ABSENT[name]
    result = {group.name: group for group in figure_groups(analyse(write_run(run, tmp_path)))}
    assert result[kind].pictures == ()
    assert any(reason in sentence for sentence in result[kind].absences)
    assert all(group.pictures or group.absences for group in result.values())


def test_a_curve_of_one_seed_says_nothing_of_more(tmp_path: Path) -> None:
    run = small(fit_seeds=(0,), methods=(FakeMethod("caa", effect=lambda t, s: 0.3),))
    rows = [row for row in analyse(write_run(run, tmp_path)).rows if row.is_primary]
    picture = power_plot.power_plot(rows)
    assert isinstance(picture, Picture)
    assert "1 seed" in picture.svg
    assert "3 seeds" not in picture.svg


def test_names_of_lines_that_end_together_stand_above_each_other() -> None:
    moved = power_plot.spread_heights(np.array([50.0, 50.0, 52.0, 200.0]))
    assert np.diff(np.sort(moved)).min() >= power_plot.LINE - 1e-9
    assert min(moved[:2]) == 50.0
    assert max(moved[:2]) < moved[2] < moved[3] == 200.0
    assert list(power_plot.spread_heights(np.array([10.0, 90.0]))) == [10.0, 90.0]


def test_numbers_of_items_have_room() -> None:
    assert power_plot.item_ticks(50) == [50, 100, 200, 500, 1000, 2000, 5000]
    assert power_plot.item_ticks(5)[-1] == 5000
    assert len(power_plot.item_ticks(5)) < 8


def test_perplexities_are_drawn_as_factors(tmp_path: Path) -> None:
    task = FakeTask("ppl", metric="perplexity", kind="ratio", higher_is_better=False, n_test=60)
    run = small(tasks=(task,), select={"metric": "perplexity", "task": None})
    result = figure_groups(analyse(write_run(run, tmp_path)))
    texts = {group.name: group.pictures[0].alternative for group in result if group.pictures}
    assert "× " in texts["differences"]
    assert "÷ " in texts["choosing-figures"]
    assert "a factor of" in texts["power"]
    assert "factor of its perplexity" in result[0].pictures[0].svg


@pytest.mark.slow
def test_matplotlib_is_left_as_it_was(analysis: Analysis) -> None:
    before = dict(mpl.rcParams)
    figure_groups(analysis)
    assert dict(mpl.rcParams) == before
