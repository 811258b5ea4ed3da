"""The report in a real browser: nothing fetched, no error, everything clickable, accessible.

Needs Playwright (a development dependency) and a Chromium or Chrome: one on PATH, the one that
`playwright install chromium` downloads, or the one that STEEREVAL_CHROMIUM names.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from fake_diagnosis import diagnosed_run, fake_diagnosis
from fake_responses import HOSTILE, generation, multiple_choice
from fake_run import FakeMethod, FakeRun, FakeTask, planted, write_run
from odd_runs import ODD_RUNS

from steereval.results.report import build_report
from steereval.results.store.correct_answers import Correct, write_correct_answers
from steereval.results.store.run_folder import RunFolder

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
EXAMPLES = Path(__file__).parents[3] / "examples"
WIDTHS = (390, 1400)
SCHEMES = ("light", "dark")


HOW_TO_GET_ONE = (
    "no Chromium is installed: `apt-get install chromium` or `.venv/bin/playwright install "
    "chromium` installs one, and STEEREVAL_CHROMIUM names one that is not on PATH"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        named = os.environ.get("STEEREVAL_CHROMIUM")
        candidates = (named, *map(shutil.which, NAMES), driver.chromium.executable_path)
        program = next((each for each in candidates if each and Path(each).exists()), None)
        if program is None:
            pytest.skip(HOW_TO_GET_ONE)
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = driver.chromium.launch(executable_path=program, args=quiet)
        yield chromium
        chromium.close()


def answers(cell: dict[str, Any], items: list[str]) -> pa.Table:
    """Texts on one task, choices on the others."""
    return (generation if cell["task"] == "toxicity" else multiple_choice)(cell, items)


CORRECT = {
    "truth": {f"truth-{i:05d}": Correct(choices=(0, 1)) for i in range(300)},
    "toxicity": {f"toxicity-{i:05d}": Correct(texts=(HOSTILE,)) for i in range(300)},
}


def report(folder: Path, run: FakeRun) -> Path:
    run_folder = write_run(run, folder)
    write_correct_answers(run_folder.place, CORRECT)
    return build_report(run_folder)


@pytest.fixture(scope="module")
def planted_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part of a report: capability, choice of strengths, failures, noise floor, answers."""
    run = dataclasses.replace(
        planted(),
        repeated=("none", "helps"),
        responses=answers,
        fails=lambda cell: cell["method"] == "harms" and cell["fit_seed"] == 3,
    )
    return report(tmp_path_factory.mktemp("browser") / "run", run)


@pytest.fixture(scope="module")
def diagnosed_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All questions answered, some by "not measured", and a metric that collapses."""
    beside = FakeTask("info", "informative", share=lambda m, s: 0.1 if m == "odesteer" else 0.9)
    methods = (FakeMethod("odesteer", (5.0, 10.0)), FakeMethod("caa", (1.0, 2.0)))
    tasks = (FakeTask("open", "true", beside=(beside,)), FakeTask("truth", n_clusters=12))
    diagnosis = fake_diagnosis(left_out=("gain_at_displacement",))
    folder = tmp_path_factory.mktemp("diagnosed") / "run"
    return build_report(diagnosed_run(folder, diagnosis, methods=methods, tasks=tasks))


@pytest.fixture(scope="module")
def all_methods_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of examples/all-methods.yaml: its 23 labels, layers, strengths, tasks and seeds."""
    grid = yaml.safe_load((EXAMPLES / "all-methods.yaml").read_text(encoding="utf-8"))
    methods = tuple(
        FakeMethod(
            entry.get("label", entry["name"]),
            tuple(map(float, entry["strengths"])),
            lambda task, strength, place=place: 0.02 * (place - 8),  # type: ignore[misc]
            (_layers(entry),),
            0.03,
        )
        for place, entry in enumerate(e for e in grid["methods"] if isinstance(e, dict))
    )
    tasks = tuple(
        FakeTask(t["name"], kind="bounded", n_validation=0, n_test=t["limit"])
        for t in grid["tasks"]
    )
    seeds = tuple(grid["seeds"]["fit"])
    run = FakeRun(methods, tasks, ("smollm2-135m",), seeds, select=None, responses=multiple_choice)
    return report(tmp_path_factory.mktemp("all") / "run", run)


def _layers(entry: dict[str, Any]) -> str:
    layers = entry.get("layers", [14])
    return layers if isinstance(layers, str) else "+".join(map(str, [layers[0]]
                                                               if isinstance(layers[0], int)
                                                               else layers[0]))  # fmt: skip


class Watched:
    """An open page, with all that it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        size = {"width": 1400, "height": 900}
        usual = {"viewport": size, "accept_downloads": True, "reduced_motion": "reduce"}
        options = usual | options
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def browse(self) -> Any:
        """The item browser, drawn."""
        self.unfold("items")
        result = self.page.locator("#item-browser")
        result.scroll_into_view_if_needed()
        result.locator(".item").first.wait_for()
        return result

    def unfold(self, anchor: str) -> None:
        """Click on the heading of a folded section, and on all that is folded in it."""
        section = self.page.locator(f"details#{anchor}")
        if section.get_attribute("open") is None:
            section.locator("summary").first.click()
        section.evaluate("(e) => e.querySelectorAll('details').forEach((d) => { d.open = true; })")

    def choose(self, control: str, value: str) -> None:
        """Select by label or value in the item browser."""
        self.page.get_by_role("combobox", name=control, exact=True).select_option(value)

    def search(self, text: str) -> None:
        """Type into the item browser."""
        self.page.locator("#item-browser").get_by_role("searchbox").fill(text)

    def counts(self, text: str) -> None:
        """Wait until the item browser says `text` of its items."""
        status = self.page.locator("#item-browser").get_by_role("status")
        playwright.expect(status).to_have_text(text)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


Opener = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opener]:
    """Opens pages; each must have been silent and have asked for nothing but itself."""
    opened: list[tuple[Watched, Path]] = []

    def opening(path: Path, **options: Any) -> Watched:
        watched = Watched(browser, path, **options)
        opened.append((watched, path))
        return watched

    yield opening
    for watched, path in opened:
        requests_of_page = [url for url in watched.requests if url == path.as_uri()]
        others = [url for url in watched.requests if url not in requests_of_page]
        watched.context.close()
        assert watched.complaints == []
        assert len(requests_of_page) == 1
        assert all(url.startswith(("data:", "blob:")) for url in others), others


def columns(table: Any, number: int) -> list[str]:
    cells = table.locator(f"tbody tr:visible > :nth-child({number})")
    return [" ".join(text.split()) for text in cells.all_inner_texts()]


def test_a_table_is_sorted_by_its_headings(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    watched.unfold("leaderboard")
    page = watched.page
    table = page.locator("#tiny-truth-acc-result table")
    button = table.get_by_role("button", name="Score ± SE")
    button.click()
    rising = [float(text.split(" ")[0]) for text in columns(table, 3)]
    assert rising == sorted(rising)
    assert table.locator("th[aria-sort]").count() == 1
    assert table.locator("th[aria-sort=ascending]").inner_text() == "Score ± SE"
    button.focus()
    page.keyboard.press("Enter")
    falling = [float(text.split(" ")[0]) for text in columns(table, 3)]
    assert falling == rising[::-1]
    table.get_by_role("button", name="Method").click()
    assert columns(table, 1) == sorted(columns(table, 1))


def test_a_table_is_filtered_by_words(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    watched.unfold("strengths")
    figure = watched.page.locator("#tiny-truth-acc-strengths")
    table, box = figure.locator("table"), figure.get_by_role("searchbox")
    everything = columns(table, 1)
    box.fill("HELPS 14")
    assert columns(table, 1) == ["helps layer 14"] * 3
    assert figure.get_by_role("status").inner_text() == f"3 of {len(everything)} rows"
    box.fill("no such method")
    assert columns(table, 1) == []
    box.fill("")
    assert columns(table, 1) == everything


def test_every_table_is_downloaded_whole(open_page: Opener, planted_page: Path) -> None:
    """A few on each page, since Chromium starts no more than ten downloads in a row."""
    count = open_page(planted_page).page.locator("figure.table").count()
    assert count > 12
    for start in range(0, count, 8):
        page = open_page(planted_page).page
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        for i in range(start, min(start + 8, count)):
            figure = page.locator("figure.table").nth(i)
            with page.expect_download() as waiting:
                figure.locator("a.download").click()
            assert waiting.value.suggested_filename == f"{figure.get_attribute('id')}.csv"
            with Path(waiting.value.path()).open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
            assert len(rows) == 1 + figure.locator("tbody tr").count()
            assert rows[0] == [h.strip() for h in figure.locator("thead th").all_text_contents()]


def test_items_are_filtered_by_method_and_direction(open_page: Opener, planted_page: Path) -> None:
    """As many as differ, by pandas' count of them."""
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Method", "harms (layer 14)")
    better, worse = counts_of(planted_page, "harms")
    assert 0 < better < worse < 240
    watched.choose("Show", "worse")
    watched.counts(f"{worse} of 240 items")
    differences = browse.locator(".item .change:not(:empty)").all_inner_texts()
    assert len(differences) == 10
    sizes = [float(text.split()[-1]) for text in differences]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0
    watched.choose("Show", "better")
    watched.counts(f"{better} of 240 items")
    watched.choose("Show", "scores")
    watched.counts(f"{better + worse} of 240 items")
    watched.choose("Show", "all")
    watched.counts("240 of 240 items")


def counts_of(page: Path, method: str) -> tuple[int, int]:
    """Test items of the first task on which a method of one strength gains and loses."""
    items = RunFolder(page.parents[1]).read_items().to_pandas()
    items = items[(items.task == "truth") & (items.split == "test")]
    means = items.groupby(["method", "item_id"]).value.mean()
    gains = means[method] - means["none"]
    return int((gains > 1e-9).sum()), int((gains < -1e-9).sum())


def test_a_choice_shows_what_both_thought_of_it(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Method", "helps (layer 14)")
    first = browse.locator(".item").first
    first.locator("summary").click()
    details = first.locator("details table")
    assert 2 <= details.locator("tbody tr").count() <= 4
    for column, row in ((2, 1), (3, 2)):
        values = columns(details, column)
        (likeliest,) = (text for text in values if "likeliest" in text)
        numbers = [float(text.split()[0]) for text in values]
        assert float(likeliest.split()[0]) == max(numbers)
        picked = first.locator(f".arms > li:nth-child({row}) .said")
        assert " ".join(picked.inner_text().split()) == columns(details, 1)[values.index(likeliest)]


def test_an_item_shows_what_is_correct(open_page: Opener, planted_page: Path) -> None:
    """Choices of one task, a reference text of the other; never run, whatever they hold."""
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Show", "all")
    watched.search("truth-00120")
    watched.counts("1 of 240 items")
    right = browse.locator(".item .right .item-text").all_inner_texts()
    assert right == ["choice 0 of truth-00120", "choice 1 of truth-00120"]
    for line in browse.locator(".arms > li .said").all_inner_texts():
        assert ("✓ correct" in line) == any(text in line for text in right)
    watched.choose("Task", "tiny: toxicity · toxicity")
    watched.search("toxicity-00120")
    watched.counts("1 of 240 items")
    assert browse.locator(".item .right .item-text").all_inner_texts() == [HOSTILE]
    assert browse.locator("img, script").count() == 0


def test_difference_and_verdict_are_seen_on_a_phone(open_page: Opener, planted_page: Path) -> None:
    """Without scrolling sideways, in every row; and sorting works there too."""
    watched = open_page(planted_page, viewport={"width": 390, "height": 844})
    matrix = watched.page.locator("#verdict-matrix")
    rows = matrix.locator("tbody tr")
    assert rows.count() == 9
    for cell in matrix.locator("td.c-difference, td.c-verdict").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["width"] > 40
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert cell.evaluate("(e) => e.scrollWidth - e.clientWidth") <= 0
    matrix.get_by_role("button", name="Difference").click()
    texts = matrix.locator("td.c-difference .value").all_inner_texts()
    values = [float(text) for text in texts]
    assert values == sorted(values)


def test_what_is_folded_is_reached_by_a_link(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    assert watched.page.locator("details.section[open]").count() == 0
    watched.page.evaluate("location.hash = '#choosing'")
    watched.page.locator("details#strengths[open] details#choosing[open]").wait_for()


def test_the_page_is_short_when_it_is_opened(open_page: Opener, planted_page: Path) -> None:
    """Three methods on three tasks: it was 15 715 pixels when nothing was folded."""
    page = open_page(planted_page).page
    assert page.evaluate("document.documentElement.scrollHeight") < 4000


def test_items_are_searched(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Show", "all")
    watched.search("Question TRUTH-00123?")
    watched.counts("1 of 240 items")
    assert browse.locator(".prompt").inner_text() == "Question truth-00123?\nA:"
    watched.search("nothing has this")
    watched.counts("0 of 240 items")
    assert browse.locator(".item").count() == 0


def test_pages_are_turned(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Show", "all")
    watched.choose("Order", "item")
    names = browse.locator(".item > .part")
    back, onward = (browse.get_by_role("button", name=name) for name in ("Previous", "Next"))
    playwright.expect(names.first).to_have_text("Item truth-00060")
    assert back.is_disabled()
    onward.click()
    playwright.expect(names.first).to_have_text("Item truth-00070")
    for page in range(3, 25):
        onward.click()
        browse.get_by_text(f"Page {page} of 24").wait_for()
    assert names.last.inner_text() == "Item truth-00299"
    assert onward.is_disabled()
    back.click()
    playwright.expect(names.first).to_have_text("Item truth-00280")


def test_hostile_texts_stay_texts(open_page: Opener, planted_page: Path) -> None:
    """Another task, generated texts: markup and scripts in them are shown, never run."""
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Task", "tiny: toxicity · toxicity")
    browse.get_by_text("write of toxicity").first.wait_for()
    assert HOSTILE in browse.locator(".prompt").first.text_content()
    watched.choose("Show", "answers")
    watched.counts("120 of 240 items")
    answers = browse.locator(".item").first.locator(".arms .item-text")
    assert answers.first.text_content().startswith(f"{HOSTILE} none on")
    assert answers.nth(1).text_content().startswith(f"{HOSTILE} helps on")
    assert browse.locator("img, script").count() == 0


def test_the_items_shown_are_downloaded(open_page: Opener, planted_page: Path) -> None:
    watched = open_page(planted_page)
    browse = watched.browse()
    watched.choose("Task", "tiny: toxicity · toxicity")
    browse.get_by_text("write of toxicity").first.wait_for()
    watched.choose("Method", "helps (layer 14)")
    watched.choose("Show", "all")
    watched.search("toxicity-0012")
    watched.counts("10 of 240 items")
    with watched.page.expect_download() as waiting:
        browse.get_by_role("button", name="Download as CSV").click()
    with Path(waiting.value.path()).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert {row["method"] for row in rows} == {"helps (layer 14)"}
    assert all(row["prompt"] == f"{HOSTILE} write of {row['item']}" for row in rows)
    assert all(row["baseline answer"].startswith(HOSTILE) for row in rows)


def test_a_run_of_thousands_of_items_does_not_grow_the_page(
    open_page: Opener, tmp_path: Path
) -> None:
    """As few elements whether a hundred or four thousand items lie in it."""
    for number in (100, 4000):
        run = FakeRun(
            (FakeMethod("caa"),), (FakeTask("truth", n_validation=0, n_test=number),),
            fit_seeds=(0,), select=None, responses=multiple_choice,
        )  # fmt: skip
        watched = open_page(report(tmp_path / str(number), run))
        browse = watched.browse()
        watched.choose("Show", "all")
        watched.counts(f"{number} of {number} items")
        assert browse.locator(".item").count() == 10
        watched.search("9?")
        watched.counts(f"{number // 10} of {number} items")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(
    open_page: Opener, planted_page: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    watched = open_page(planted_page, viewport=size, color_scheme=scheme)
    assert watched.overflow() == 0
    watched.browse()
    watched.choose("Method", "helps (layer 14)")
    watched.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert watched.overflow() == 0


def test_long_lines_of_the_provenance_are_wrapped(open_page: Opener, planted_page: Path) -> None:
    """A region that scrolls could not be reached by the keyboard."""
    page = open_page(planted_page, viewport={"width": 390, "height": 800}).page
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    text = page.locator("pre").first
    wide = "(e) => { e.textContent = 'x'.repeat(200); return e.scrollWidth - e.clientWidth; }"
    assert text.evaluate(wide) == 0


def test_the_colours_follow_the_scheme(open_page: Opener, planted_page: Path) -> None:
    def paints(scheme: str) -> tuple[str, str, str]:
        page = open_page(planted_page, color_scheme=scheme).page
        colour = "(e) => getComputedStyle(e)."
        return (
            page.locator("body").evaluate(f"{colour}backgroundColor"),
            page.locator("body").evaluate(f"{colour}color"),
            page.locator(".picture svg text").first.evaluate(f"{colour}fill"),
        )

    for light, dark in zip(paints("light"), paints("dark"), strict=True):
        assert light != dark


def test_print_shows_everything_on_white(open_page: Opener, planted_page: Path) -> None:
    """In the dark too; details are open, and nothing that needs a click is there."""
    watched = open_page(planted_page, color_scheme="dark", viewport={"width": 750, "height": 1000})
    watched.browse()
    page = watched.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    white = "rgb(255, 255, 255)"
    assert page.locator("body").evaluate("(e) => getComputedStyle(e).backgroundColor") == white
    assert page.locator("details:not([open])").count() == 0
    for hidden in ("a.download", ".filter", "#item-browser"):
        assert page.locator(hidden).first.is_visible() is False
    assert page.get_by_text("all scores are in items.jsonl").is_visible()
    assert watched.overflow() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_serious_fault(
    open_page: Opener, planted_page: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    watched = open_page(planted_page, viewport=size, color_scheme=scheme)
    watched.browse()
    watched.choose("Method", "helps (layer 14)")
    watched.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert serious_faults(watched) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_questions_are_read_anywhere(
    open_page: Opener, diagnosed_page: Path, width: int, scheme: str
) -> None:
    """Question and answer while they are folded, and what they rest on when they are opened."""
    size = {"width": width, "height": 800}
    watched = open_page(diagnosed_page, viewport=size, color_scheme=scheme)
    for number in range(1, 9):
        fold = watched.page.locator(f"details#q{number}")
        assert fold.locator("summary .what").first.is_visible()
        assert fold.locator("summary .hint").first.inner_text()
        fold.locator("summary").first.click()
        assert fold.locator(".explain").first.is_visible()
    watched.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert watched.overflow() == 0
    assert serious_faults(watched) == []


def serious_faults(watched: Watched) -> list[str]:
    result = axe.Axe().run(watched.page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in result
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", ["most cells failed", "one item", "all infinite", "no baseline"])
def test_a_page_with_little_to_say_works(open_page: Opener, tmp_path: Path, name: str) -> None:
    """Whatever is missing, nothing fails in the page, and what is there can be browsed."""
    watched = open_page(
        report(tmp_path / "run", ODD_RUNS[name]), viewport={"width": 390, "height": 800}
    )
    if watched.page.locator("script.item-chunk").count():
        watched.unfold("items")
        watched.page.locator("#item-browser").scroll_into_view_if_needed()
        watched.page.get_by_role("combobox", name="Show", exact=True).wait_for()
        watched.choose("Show", "all")
        watched.browse()
    assert watched.overflow() == 0
    assert serious_faults(watched) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_on_all_methods_works(
    open_page: Opener, all_methods_page: Path, width: int
) -> None:
    size = {"width": width, "height": 900}
    watched = open_page(all_methods_page, viewport=size)
    matrix = watched.page.locator("#verdict-matrix table")
    matrix.get_by_role("button", name="Rank").click()
    watched.unfold("leaderboard")
    table = watched.page.locator("#smollm2-135m-truthful_mini_mc-acc-result table")
    assert len(columns(table, 1)) == 23
    table.get_by_role("button", name="Rank").click()
    assert watched.overflow() == 0
    watched.browse()
    watched.choose("Task", "smollm2-135m: truthful_mini_gen · acc")
    watched.counts("10 of 10 items")
    assert watched.overflow() == 0
    assert serious_faults(watched) == []
