"""The report: whole, self-contained, escaped, the same in all its forms, and right in odd runs."""

from __future__ import annotations

import base64
import csv
import html.parser
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from fake_diagnosis import diagnosed_run, fake_diagnosis
from fake_run import FakeMethod, FakeRun, FakeTask, cells_of, manifest_of, repeats_of, write_run
from odd_runs import ODD_RUNS, small

from steereval.common.errors import StoreError
from steereval.results.analysis import wording
from steereval.results.analysis.conclusion import short_verdict
from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report import build, build_report
from steereval.results.report.plots.figures import figure_groups
from steereval.results.report.summary import MARKS, tone_of
from steereval.results.report.tables.verdict_matrix import matrix_grid, matrix_rows
from steereval.results.report.writers.leaderboard_table import FLAT_SCHEMA
from steereval.results.store.run_folder import RunFolder

Floats = npt.NDArray[np.float64]
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and keeps text, links and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def bare(text: str) -> str:
    """Letters alone: code stands between backticks in a sentence and in an element on a page."""
    return re.sub(r"[`\s]", "", text)


@pytest.fixture(scope="module")
def analysis(planted_run: RunFolder) -> Analysis:
    return analyse(planted_run)


@pytest.fixture(scope="module")
def folder(planted_run: RunFolder) -> Path:
    return build_report(planted_run).parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_everything_is_there(folder: Path, planted_run: RunFolder) -> None:
    assert folder == planted_run.path / "report"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("index.html", "report.md", "leaderboard.csv", "leaderboard.parquet"),
        *("leaderboard.md", "leaderboard.tex", "items.jsonl", "figures"),
    }
    stems = sorted(path.stem for path in (folder / "figures").glob("*.svg"))
    assert stems == sorted(path.stem for path in (folder / "figures").glob("*.png"))
    light = {stem for stem in stems if not stem.endswith("-dark")}
    assert light == {stem.removesuffix("-dark") for stem in set(stems) - light}
    assert "forest-tiny-truth-acc" in stems
    assert "strength-tiny-truth-acc" in stems


def test_the_page_needs_no_network(page: Page) -> None:
    for tag, name, value in page.attributes:
        if name in ("href", "src", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        if name in ("style", "clip-path", "fill"):
            assert "url(" not in value or "url(#" in value
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _, _ in page.attributes}


def test_the_style_fetches_nothing(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
    assert "@import" not in styles
    assert "url(" not in styles


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [v[1:] for _, n, v in page.attributes if n in ("href", "xlink:href") and v[0] == "#"]
    assert set(links) <= set(ids)


@pytest.mark.slow
def test_reduced_training_and_displacement_are_shown(tmp_path: Path) -> None:
    short = FakeMethod("short", reduced={"epochs": [2, 100]}, displacement={"14": 12.345})
    run = FakeRun(methods=(short,), tasks=(FakeTask("truth"),))
    folder = build_report(write_run(run, tmp_path / "run")).parent
    text = Page((folder / "index.html").read_text(encoding="utf-8")).text
    assert "short was trained on a reduced budget (epochs 2 instead of 100)" in text
    assert "of 1 compared: reduced training (1)." in text
    assert re.search(r"short layer 14 truth [^▲▼]*○ inconclusive [^▲▼]* reduced training", text)
    assert " 12.3 " in text
    (row,) = [
        row
        for row in pq.read_table(folder / "leaderboard.parquet").to_pylist()
        if row["method"] == "short"
    ]
    assert row["caution"] == "reduced training"
    assert row["displacement"] == pytest.approx(12.345)


def test_the_page_opens_with_the_verdicts_in_words(page: Page, analysis: Analysis) -> None:
    text = page.text
    said = " ".join(short_verdict(analysis.rows, analysis.plan.baseline))
    assert text.index(said) < text.index("93 of 93 planned cells finished.")
    matrix = text.index("Verdicts: tiny")
    assert text.index("93 of 93 planned cells finished.") < matrix < text.index("All metrics")
    section_ids = [v for t, n, v in page.attributes if n == "id" and t in ("section", "details")]
    order = ("results", "questions", "items", "strengths", "leaderboard", "reading", "provenance")
    assert [each for each in section_ids if each in order] == list(order)


def test_the_matrix_has_gain_harm_and_verdict_in_one_row(analysis: Analysis) -> None:
    grid = matrix_grid(analysis, {})
    kinds = [column.kind for column in grid.columns]
    assert kinds == [
        *("method", "task", "score", "difference", "verdict"),
        *("strength", "items", "effects", "rank"),
    ]
    for row, line in zip(matrix_rows(analysis), grid.rows, strict=True):
        entry = dict(zip(kinds, line, strict=True))
        assert row.comparison is not None
        difference = wording.difference(row.comparison.effect, row.metric)
        assert entry["difference"].plain == difference.replace(" points", "")
        assert entry["verdict"].text == f"{MARKS[tone_of(row)]} {row.verdict and row.verdict.word}"
        assert entry["method"].text == row.arm.method
        capability = [
            other
            for other in analysis.rows
            if (other.arm, other.task.role, other.is_primary) == (row.arm, "capability", True)
        ]
        assert len(entry["effects"].remarks) == (len(capability) if row.task.is_target else 0)


def test_markdown_says_the_same(folder: Path, analysis: Analysis) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    for row in analysis.rows:
        if row.verdict is not None and row.comparison is not None:
            difference = wording.difference(row.comparison.effect, row.metric)
            assert difference.replace(" points", "") in text
    assert "tiny: ranks need 10 target tasks or more, and there are 2.\n" in text
    assert not re.search(r"^-\s*$", text, re.MULTILINE)
    for picture in re.findall(r"\]\((figures/[^)]*)\)", text):
        assert (folder / picture).exists()
    widths: set[int] = set()
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            widths.add(len(re.findall(r"(?<!\\)\|", line)))
            assert len(widths) == 1
        else:
            widths = set()


def test_csv_and_parquet_hold_the_analysis(folder: Path, analysis: Analysis) -> None:
    table = pq.read_table(folder / "leaderboard.parquet")
    assert table.schema.equals(FLAT_SCHEMA)
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == table.num_rows == len(analysis.rows)
    for line, record, row in zip(lines, table.to_pylist(), analysis.rows, strict=True):
        assert line["method"] == record["method"] == row.arm.method
        if row.comparison is not None:
            assert record["difference"] == row.comparison.effect.estimate
            assert float(line["difference_low"]) == row.comparison.effect.low
            assert record["verdict"] == (row.verdict.word if row.verdict else None)
            assert record["n_clusters"] == row.comparison.effect.n_clusters


def test_items_are_json_lines(folder: Path, planted_run: RunFolder) -> None:
    lines = [json.loads(line) for line in (folder / "items.jsonl").open(encoding="utf-8")]
    items = planted_run.read_items()
    assert len(lines) == items.num_rows
    assert lines[0]["scores"] == {items["metric"][0].as_py(): items["value"][0].as_py()}
    assert {line["split"] for line in lines} == {"validation", "test"}


def test_tables_can_be_downloaded_and_sorted(page: Page) -> None:
    links = [v for t, n, v in page.attributes if (t, n) == ("a", "href") and v.startswith("data:")]
    assert links
    for link in links:
        head, data = link.split(",")
        assert head == "data:text/csv;charset=utf-8;base64"
        rows = list(csv.reader(io.StringIO(base64.b64decode(data).decode())))
        assert {len(row) for row in rows} == {len(rows[0])}
    orders = [value for _, name, value in page.attributes if name == "data-order"]
    assert all(np.isfinite(float(o)) or o == "-inf" for o in orders)


def test_figures_are_whole_svg_files(folder: Path) -> None:
    for path in (folder / "figures").glob("*.svg"):
        root = ET.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    forest = (folder / "figures" / "forest-tiny-truth-acc.svg").read_text(encoding="utf-8")
    assert all(name in forest for name in ("helps", "nothing", "harms"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_RUNS)
def test_odd_runs_are_reported_correctly(name: str, tmp_path: Path) -> None:
    run = write_run(ODD_RUNS[name], tmp_path)
    page = Page(build_report(run).read_text(encoding="utf-8"))
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page.text)
    planned = len([*cells_of(ODD_RUNS[name]), *repeats_of(ODD_RUNS[name])])
    done = len(run.finished())
    assert f"{done} of {planned} planned cells finished" in page.text
    analysis = analyse(run)
    words = {row.verdict.word for row in analysis.rows if row.verdict is not None}
    assert words <= {"inconclusive"}
    assert ("Failed cells" in page.text) == (done < planned)
    assert (analysis.noise_floors == ()) == ("both times" in page.text)
    drawn = {path.stem.removesuffix("-dark") for path in (run.path / "report/figures").iterdir()}
    groups = figure_groups(analysis)
    answers = {name for name in drawn if re.match(r"q[1-8]-", name)}
    assert drawn - answers == {picture.name for group in groups for picture in group.pictures}
    sentences = [sentence for group in groups for sentence in group.absences]
    assert all(bare(sentence) in bare(page.text) for sentence in sentences)
    assert all(group.pictures or group.absences for group in groups)


@pytest.mark.slow
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(small(), tmp_path / "run")
    first = build_report(run, tmp_path / "first").parent
    second = build_report(run, tmp_path / "second").parent
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


def test_a_run_that_has_not_begun_is_reported(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.create()
    run.write_manifest(manifest_of(small(), list(cells_of(small()))))
    assert "7 have not run" in Page(build_report(run).read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(diagnosed_run(tmp_path_factory.mktemp("diagnosed") / "run")).parent


@pytest.mark.slow
def test_all_questions_are_answered_on_the_page(diagnosed: Path) -> None:
    page = Page((diagnosed / "index.html").read_text(encoding="utf-8"))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {f"q{number}" for number in range(1, 9)} <= set(ids)
    links = [v[1:] for _, n, v in page.attributes if n in ("href", "xlink:href") and v[0] == "#"]
    assert set(links) <= set(ids)
    assert "steereval diagnose RUN" not in page.text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", page.text)


def test_answers_stand_near_the_top_and_with_what_they_rest_on(diagnosed: Path) -> None:
    text = (diagnosed / "report.md").read_text(encoding="utf-8")
    answer = text.index("The barrier property does not hold for odesteer at strength 10")
    assert text.index("## Verdicts") < text.index("## Questions") < answer < text.index("## Items")
    for name in ("q1-steps", "q3-errors", "q6-rises", "q7-mahalanobis", "q8-cosines"):
        place = f"figures/{name}-tiny-14-truthful-mini.png"
        assert text.index(f"]({place})") > text.index("## Questions")
        assert (diagnosed / place).exists()


def test_letters_of_the_answers_can_be_read_on_a_phone(diagnosed: Path) -> None:
    for path in (diagnosed / "figures").glob("q[1-8]-*.svg"):
        svg = path.read_text(encoding="utf-8")
        width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
        assert min(sizes) * 345 / width >= 9.0, path.name


def test_without_a_diagnosis_the_report_says_what_measures_the_rest(
    folder: Path, page: Page
) -> None:
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {number for number in range(1, 9) if f"q{number}" in ids} == {2, 4, 5}
    assert "steereval diagnose RUN" in page.text
    assert "`steereval diagnose RUN`" in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_damaged_diagnosis_is_an_error(tmp_path: Path) -> None:
    run = diagnosed_run(tmp_path / "run", fake_diagnosis())
    (tmp_path / "run/diagnosis/tiny-14.parquet").write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"tiny-14\.parquet is not what"):
        build_report(run)


@pytest.mark.slow
def test_names_cannot_become_markup(tmp_path: Path) -> None:
    name = "<script>alert(1)</script> & \"x\" | $y$ '_z_'"
    run = write_run(small(methods=(FakeMethod(name, (1.0, 2.0)),), models=(f"a/{name}",)), tmp_path)
    path = build_report(run)
    page = Page(path.read_text(encoding="utf-8"))
    assert name in page.text
    assert "<script>alert" not in path.read_text(encoding="utf-8")
    markdown = (path.parent / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in re.sub(r"~~~json\n.*?\n~~~", "", markdown, flags=re.DOTALL)
    for picture in (path.parent / "figures").iterdir():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", picture.name)


@pytest.mark.slow
def test_failed_cells_are_listed_with_their_errors(tmp_path: Path) -> None:
    run = write_run(small(fails=lambda cell: cell["fit_seed"] == 1), tmp_path)
    text = Page(build_report(run).read_text(encoding="utf-8")).text
    assert "caa T=1 on truth, tiny CellError: the layer <14> is gone" in text
    assert "1 missing" in text


@pytest.mark.slow
def test_an_earlier_report_is_replaced_whole(tmp_path: Path) -> None:
    run = write_run(small(), tmp_path / "run")
    folder = build_report(run, tmp_path / "out").parent
    (folder / "stale.txt").write_text("old")
    build_report(run, tmp_path / "out")
    assert not (folder / "stale.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}


@pytest.mark.slow
def test_a_failure_on_the_way_leaves_the_earlier_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(small(), tmp_path / "run")
    before = build_report(run).read_bytes()

    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_item_lines", broken)
    with pytest.raises(StoreError, match="No space left on device"):
        build_report(run)
    assert (run.path / "report" / "index.html").read_bytes() == before
    assert not list(run.path.glob(".tmp-*"))


def test_a_folder_that_is_not_a_report_is_never_replaced(tmp_path: Path) -> None:
    run = write_run(small(), tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(StoreError, match="thesis is in the way: it is not a report"):
        build_report(run, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.mark.slow
def test_models_and_tasks_of_a_large_grid_have_their_own_tables(tmp_path: Path) -> None:
    helps = FakeMethod("helps", (1.0,), lambda task, strength: 0.5)
    tasks = (FakeTask("truth"), FakeTask("honesty"))
    run = small(methods=(helps,), tasks=tasks, models=("a/one", "b/two"))
    text = Page(build_report(write_run(run, tmp_path)).read_text(encoding="utf-8")).text
    assert "improves in at least 2 of 2 models" in text
    assert text.count("truth · acc (points, higher is better; primary metric; to be improved)") == 2


@pytest.mark.slow
def test_a_laptop_without_a_gpu_stack_can_read_a_run() -> None:
    code = (
        "import sys, steereval.results.report, steereval.results.analysis.run_analysis\n"
        "heavy = {'torch', 'lm_eval', 'ray', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
