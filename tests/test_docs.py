"""The documentation says what the code does: pages of methods, their index, links."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from method_options import SMALL
from safetensors.torch import save_file

from steereval.common.errors import InputError
from steereval.harness.config.grid import load_grid, parse_grid
from steereval.harness.planning.plan import make_plan
from steereval.models.methods.method import Method, SiteMethod
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import SITE, WIDTH, MethodCase
from steereval.tasks.catalogue.cards import list_tasks
from steereval.tasks.catalogue.index import task_folder
from steereval.tasks.judges.registry import JUDGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INDEX = DOCS / "methods.md"
PAGES = sorted((DOCS / "methods").glob("*.md"))
MARKDOWN = [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
HEADER_OF_JUDGES = "| judge | published model | reads | metrics |"
GRID = """
name: shown
models: [{name: smollm2-135m, layers: [14]}]
tasks: [truthful_mini_mc]
analysis: {baseline: unsteered}
methods:
    - {name: none, label: unsteered}
"""

each_method = pytest.mark.parametrize("method", BUILT_IN.values(), ids=list(BUILT_IN))


def page(method: Method) -> str:
    return (DOCS / "methods" / f"{method.name}.md").read_text("utf-8")


def prose(method: Method) -> str:
    """A page without its line breaks."""
    return " ".join(page(method).split())


def table(text: str, header: str) -> list[list[str]]:
    """Cells of the rows of the table with that header; none if there is no such table."""
    start = f"{header}\n|"
    if start not in text:
        return []
    rows = text[text.index(start) :].split("\n\n")[0].splitlines()[2:]
    cells = [re.split(r"(?<!\\)\|", row.strip())[1:-1] for row in rows]
    return [[cell.strip().replace(r"\|", "|") for cell in row] for row in cells]


def examples(method: Method) -> list[str]:
    """The entries of a grid's `methods` that a page shows, as indented lines."""
    return re.findall(r"^ {4}- .*\n(?: {5,}.*\n)*", page(method), re.M)


def shown(spec: dataclasses.Field[Any]) -> str:
    """How pages write the default of an option.

    As a grid file would, without quotes; `none` for None; `needed` for an option that has to be
    given, which is one without a default or with an empty text.
    """
    if spec.default_factory is not dataclasses.MISSING:
        return str(spec.default_factory())
    if spec.default is dataclasses.MISSING or spec.default == "":
        return "needed"
    if spec.default is None:
        return "none"
    return str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Options with which each method can be fitted quickly."""
    path = tmp_path / "vector.safetensors"
    save_file({f"layer.{SITE.layer}": torch.ones(WIDTH)}, path)
    return {**SMALL, "vector": {"path": str(path)}}


def fit(method: Method, options: Mapping[str, Any]) -> Steerer | None:
    """The first steerer; None for a method that gives none."""
    return next(iter(MethodCase(method, options).fit_all().values()), None)


def incremental(method: Method, options: Mapping[str, Any]) -> bool:
    """Whether each layer can be fitted to what those below it have steered."""
    needs = method.needs(method.options(options))
    return isinstance(method, SiteMethod) and needs <= {"pairs"}


# --- pages


def test_every_method_has_a_page_and_no_page_is_left_over() -> None:
    assert {path.stem for path in PAGES} == BUILT_IN.keys()


@each_method
def test_a_page_begins_with_the_name(method: Method) -> None:
    title = page(method).splitlines()[0]
    assert re.fullmatch(rf"# {method.name}: \S.*", title)


@each_method
def test_a_page_lists_all_options_with_their_defaults(method: Method) -> None:
    rows = table(page(method), "| option | default | meaning |")
    options = [(name.strip("`"), default.strip("`")) for name, default, _ in rows]
    assert options == [(spec.name, shown(spec)) for spec in dataclasses.fields(method.Options)]
    assert all(meaning for _, _, meaning in rows)
    assert ("No options." in page(method)) == (not options)


@each_method
def test_a_page_lists_all_choices_of_an_option(method: Method) -> None:
    for name, hint in get_type_hints(method.Options).items():
        if get_origin(hint) is Literal:
            (row,) = re.findall(rf"^\| `{name}` \|.*$", page(method), re.M)
            assert all(f"`{choice}`" in row for choice in get_args(hint)), row


@each_method
def test_a_page_shows_entries_that_a_grid_takes(
    method: Method, given: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    entries = examples(method)
    assert entries
    for entry in entries:
        (tmp_path / "grid.yaml").write_text(GRID + entry)
        _, spec = load_grid(tmp_path / "grid.yaml").methods
        assert spec.name == method.name
        method.options(spec.options)
        assert not spec.incremental or incremental(method, given.get(method.name, {}))


@each_method
def test_a_page_names_what_the_method_needs(
    method: Method, given: dict[str, dict[str, Any]]
) -> None:
    parts = {"pairs", "queries", "positive_query", "negative_query", "positive_means"}
    parts |= {"negative_means", "trajectories", "rewards"}
    named = {part for part in parts if f"`{part}`" in page(method)}
    assert named == method.needs(method.options(given.get(method.name, {})))


@each_method
def test_a_page_says_whether_the_fit_seed_matters(
    method: Method, given: dict[str, dict[str, Any]]
) -> None:
    drawn = method.draws(method.options(given.get(method.name, {})))
    assert ("fit seed" in prose(method)) == drawn


@each_method
def test_a_page_says_whether_relative_strengths_exist(
    method: Method, given: dict[str, dict[str, Any]]
) -> None:
    steerer = fit(method, given.get(method.name, {}))
    if steerer is None:
        return
    text, exist = prose(method).lower(), steerer.strength_of_one_norm() is not None
    assert ("relative strengths exist" in text) == exist
    assert ("no relative strengths" in text) == (not exist)


@each_method
def test_a_page_names_the_training_budget(method: Method) -> None:
    match = re.search(r"(`\w+`[^.]*) (is|are) (a )?(training )?budgets?:", prose(method))
    assert (re.findall(r"`(\w+)`", match[1]) if match else []) == list(method.budget)


# --- the index


def test_the_index_has_a_row_for_every_method_in_the_order_of_the_registry() -> None:
    assert [row[0] for row in index()] == [f"[{name}](methods/{name}.md)" for name in BUILT_IN]


def index() -> list[list[str]]:
    header = "| method | summary | reads | seeded | relative | keeps norm | incremental |"
    return table(INDEX.read_text("utf-8"), header)


@each_method
def test_a_row_of_the_index_is_true(method: Method, given: dict[str, dict[str, Any]]) -> None:
    """Of the method with its default options; what depends on them may follow a comma."""
    (row,) = (row for row in index() if row[0].startswith(f"[{method.name}]"))
    options = given.get(method.name, {})
    steerer = fit(method, options)
    drawn = method.draws(method.options(options))
    entries = [cell.split(",")[0] for cell in row[2:]]
    assert row[1] == method.summary
    if steerer is None:
        assert entries == ["-", _word(drawn), "-", "-", "-"]
        return
    relative = steerer.strength_of_one_norm() is not None
    assert entries == [
        method.reads,
        _word(drawn),
        _word(relative),
        _norm(method, options, steerer),
        _word(incremental(method, options)),
    ]


def _word(true: bool) -> str:
    return "yes" if true else "no"


def _norm(method: Method, options: Mapping[str, Any], steerer: Steerer) -> str:
    """When the steerers of a method keep the norm."""
    if steerer.keeps_norm or "solver" not in {s.name for s in dataclasses.fields(method.Options)}:
        return _word(steerer.keeps_norm)
    try:
        other = fit(method, {**options, "solver": "exponential"})
    except InputError:
        return "no"
    return "with `exponential`" if other is not None and other.keeps_norm else "no"


# --- judges


def test_the_page_of_judges_lists_them() -> None:
    rows = table((DOCS / "judges.md").read_text("utf-8"), HEADER_OF_JUDGES)
    assert [row[0].strip("`") for row in rows] == list(JUDGES)
    for (_, model, _, metrics), judge in zip(rows, JUDGES.values(), strict=True):
        if "" in judge.scorers:
            assert model == judge.scorers[""].model
        assert all(f"`{metric}`" in metrics for metric in judge.metrics)


def test_the_page_of_judges_lists_the_scorers_of_toxicity() -> None:
    rows = table((DOCS / "judges.md").read_text("utf-8"), "| scorer | what it is | needs |")
    assert [row[0].strip("`") for row in rows] == list(JUDGES["toxicity"].scorers)


def test_the_page_of_judges_shows_a_grid_that_can_be_planned() -> None:
    (shown_,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "judges.md").read_text("utf-8"), re.S)
    grid = yaml.safe_load(GRID) | yaml.safe_load(shown_) | {"contrast": "truthful-mini"}
    cells = make_plan(parse_grid(grid))
    assert [judge.name for cell in cells for judge in cell.task.judges] == [
        "truth", "info", "toxicity", "fluency"
    ]  # fmt: skip


# --- links


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, heading = target.partition("#")
        led = (path.parent / file).resolve() if file else path
        assert led.exists(), f"{target} in {path}"
        assert not heading or heading in headings(led), f"{target} in {path}"


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# --- the README's grid, and paths in prose


def test_the_grid_of_the_readme_is_the_file_of_the_quickstart() -> None:
    (grid,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    lines = (ROOT / "examples" / "quickstart.yaml").read_text("utf-8").splitlines(keepends=True)
    assert grid == "".join(line for line in lines if not line.startswith("#"))
    assert "run examples/quickstart.yaml" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_of_the_repository_exist(path: Path) -> None:
    rooms = "harness|models|tasks|ray_jobs|results|src|tests|benchmarks|examples|build_backend|docs"
    named = re.findall(rf"`((?:{rooms})/[\w./-]*)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_named_in_prose_exist(path: Path) -> None:
    rooms = "harness|models|tasks|ray_jobs|results|common"
    pattern = rf"(?:`|::: )(steereval\.(?:{rooms})(?:\.\w+)*)"
    for name in re.findall(pattern, path.read_text("utf-8")):
        assert _resolves(name), name


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(module), attribute)


def test_the_site_shows_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert {page for page in pages if f" {page}\n" not in navigation} == set()


# --- bundled sets


def test_the_page_of_bundled_tasks_agrees_with_the_cards() -> None:
    text = (DOCS / "bundled-tasks.md").read_text("utf-8")
    rows = table(text, "| task | items | what it asks | primary metric | role |")
    ours = [described for described in list_tasks() if described.name in task_files()]
    assert {(row[0], row[3], row[4]) for row in rows} == {
        (f"`{described.name}`", f"`{described.primary_metric}`", described.role)
        for described in ours
    }


def task_files() -> set[str]:
    return {path.stem for path in (ROOT / "tasks").rglob("*_mini*.yaml")}


@pytest.mark.parametrize("name", ["truthful", "ultrafeedback", "mmlu", "arc", "commonsense"])
def test_the_page_of_bundled_tasks_counts_right(name: str) -> None:
    text = (DOCS / "bundled-tasks.md").read_text("utf-8")
    rows = table(text, "| task | items | what it asks | primary metric | role |")
    lines = (
        task_folder().joinpath(f"{name}_mini", f"{name}_mini.jsonl").read_text("utf-8").splitlines()
    )
    counts = {row[1] for row in rows if row[0].startswith(f"`{name}_mini")}
    assert counts == {str(len(lines))}


AVERAGES = [
    (path, query)
    for path in [*MARKDOWN, ROOT / "harness/cli/query.py", ROOT / "results/store/archive.py"]
    for query in re.findall(r"select[^\"`]*?avg\(value\)[^\"`]*", path.read_text())
]


def test_sample_queries_average_one_metric_of_one_task() -> None:
    assert len(AVERAGES) >= 5
    for path, query in AVERAGES:
        grouped, _, filters = query.partition(" from ")
        for column in ("metric", "task"):
            assert column in grouped or f"{column} =" in filters, f"{path}: {query}"
