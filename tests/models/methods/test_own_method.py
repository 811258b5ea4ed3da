"""Methods of other packages: the example as users install it, and entry points that are wrong."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from steereval.common.errors import InputError
from steereval.harness.cli.main import main
from steereval.models.methods import registry
from steereval.models.methods.method import Method
from steereval.models.testing import LAWS, Law, MethodCase

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "own-method"
NAME = "whitened_difference"
FIT = f"""
import sys
from pathlib import Path
from steereval.models.artefacts.artefact import Artefact, save_artefact
from steereval.models.methods.registry import get_method
from steereval.models.testing import MethodCase, points
steerers = MethodCase(get_method("{NAME}")).fit_all()
save_artefact(Artefact(steerers, {{"method": "{NAME}"}}), Path(sys.argv[1]))
print([steerer(points(0, 3), 2.5).tolist() for steerer in steerers.values()])
"""
LOAD = """
import sys
from pathlib import Path
from steereval.models.artefacts.artefact import load_artefact
from steereval.models.testing import points
artefact = load_artefact(Path(sys.argv[1]))
assert artefact.card["method"] == sys.argv[2]
print([steerer(points(0, 3), 2.5).tolist() for steerer in artefact.steerers.values()])
"""
GRID = """
name: own
models: [{name: smollm2-135m, layers: [14]}]
contrast: truthful-mini
tasks: [{name: truthful_mini_mc, limit: 20}]
"""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page."""
    code_blocks = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert code_blocks, f"{page} has no block of {language}"
    return code_blocks


# --- the example, installed beside steereval


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example, offline."""
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(
        EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", ".*")
    )
    pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "--quiet"]
    alone = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([*pip, "install", *alone, str(source)], check=True, timeout=120)
    return folder / "site"


@pytest.fixture(scope="module")
def python(site: Path) -> Callable[..., str]:
    """Runs Python where the example is installed; what it has printed."""

    def run(*arguments: str) -> str:
        process = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": str(site)},
            cwd=site,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run


def test_its_own_tests_pass(python: Callable[..., str], site: Path) -> None:
    tests = site.parent / "source"
    output = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests))
    assert re.search(rf"^{2 * len(LAWS) + 1} passed", output, re.M)


def test_it_is_listed(python: Callable[..., str]) -> None:
    lines = python("-m", "steereval", "methods").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{NAME} "))
    assert "whitened difference of means" in line
    assert line.split()[-1] == "shrinkage=0.1"


@pytest.mark.parametrize("page", [ROOT / "docs" / "own-method.md", EXAMPLE / "README.md"])
def test_a_grid_takes_it_by_name(
    python: Callable[..., str], tmp_path: Path, page: Path
) -> None:  # fmt: skip
    (methods,) = blocks(page, "yaml")
    if "- none" not in methods:
        methods = methods.replace("methods:\n", "methods:\n  - none\n")
    (tmp_path / "grid.yaml").write_text(GRID + methods)
    assert NAME in python("-m", "steereval", "plan", str(tmp_path / "grid.yaml"))


def test_its_artefacts_load_in_another_process(python: Callable[..., str], tmp_path: Path) -> None:
    folder = str(tmp_path / "steerer")
    assert python("-c", FIT, folder) == python("-c", LOAD, folder, NAME)


# --- what the documentation shows


def test_the_page_shows_the_example() -> None:
    sources = [EXAMPLE / "whitened_difference.py", EXAMPLE / "tests" / "test_laws.py"]
    code = [source.read_text("utf-8") for source in sources]
    page = ROOT / "docs" / "own-method.md"
    shown = [block for block in blocks(page, "python") if "class GradedShift" not in block]
    assert len(shown) == 2
    for block in shown:
        assert any(block in text for text in code), block
    (entry_point,) = blocks(page, "toml")
    assert entry_point in (EXAMPLE / "pyproject.toml").read_text("utf-8")


@pytest.fixture
def graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Method]:
    """The method of the page that decides per query."""
    shown = blocks(ROOT / "docs" / "own-method.md", "python")
    (code,) = (block for block in shown if "class GradedShift" in block)
    (tmp_path / "graded_shown.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("graded_shown").Graded()
    del sys.modules["graded_shown"]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_shown_method_that_decides_per_query(law: Law, graded: Method) -> None:
    law(MethodCase(graded))


def test_the_shown_method_shifts_by_more_on_the_negative_side(graded: Method) -> None:
    steerer = MethodCase(graded).fit()
    vector = steerer.tensors()["vector"]
    middle = steerer.tensors()["middle"]
    prompts = torch.stack([middle - vector, middle, middle + vector])
    state = steerer.begin(prompts, ["a", "b", "c"])
    shares = torch.sigmoid(torch.tensor([1.0, 0.0, -1.0]))
    moved = steerer.apply(torch.zeros_like(prompts), 2.0, state)
    assert torch.allclose(moved, 2 * shares[:, None] * vector, atol=1e-5)


# --- entry points that are wrong


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a distribution with one entry point of the methods' group."""

    def install(entry_point: str) -> None:
        folder = tmp_path / "stranger-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry_point}\n")
        monkeypatch.syspath_prepend(tmp_path)
        registry.methods.cache_clear()

    yield install
    registry.methods.cache_clear()


def test_a_method_of_another_package_comes_after_the_built_in_ones(
    register: Callable[[str], None], tmp_path: Path
) -> None:
    shutil.copy(EXAMPLE / f"{NAME}.py", tmp_path)
    register(f"{NAME} = {NAME}:WhitenedDifference")
    assert list(registry.methods()) == [*registry.BUILT_IN, NAME]
    assert registry.get_method(NAME).name == NAME


WRONG = {
    "caa = stranger:Caa": "caa = stranger:Caa takes the name of a method there is",
    "lost = stranger_lost:Lost": r"lost = stranger_lost:Lost cannot be loaded: No module named",
    "lost = json:Lost": "lost = json:Lost cannot be loaded: module 'json' has no attribute 'Lost'",
    "bare = steereval.models.methods.method:SiteMethod": "bare = .* cannot be loaded: .*abstract",
    "decoder = json:JSONDecoder": "json:JSONDecoder is not a steering method of that name",
    "broken = stranger_broken:Broken": "broken = .* cannot be loaded: invalid syntax",
    "alias = steereval.models.methods.caa:Caa": "alias = .* is not a steering method of that name",
}


@pytest.mark.parametrize("entry_point", WRONG)
def test_wrong_entry_points_are_named(
    register: Callable[[str], None], tmp_path: Path, entry_point: str
) -> None:
    (tmp_path / "stranger_broken.py").write_text("def\n")
    register(entry_point)
    for ask in (registry.methods, registry.steerer_kinds, lambda: registry.get_method("caa")):
        with pytest.raises(InputError, match=WRONG[entry_point]):
            ask()


def test_two_steerers_of_one_name_are_refused(
    register: Callable[[str], None], tmp_path: Path
) -> None:
    """Artefacts of caa would be loaded as the other's."""
    code = (EXAMPLE / f"{NAME}.py").read_text("utf-8").replace(
        "kinds = (ConstantShift,)", "kinds = (type('Mine', (ConstantShift,), {}),)"
    )  # fmt: skip
    (tmp_path / "stranger_shift.py").write_text(code)
    register(f"{NAME} = stranger_shift:WhitenedDifference")
    with pytest.raises(InputError, match="another both have a steerer 'constant_shift'"):
        registry.steerer_kinds()


def test_the_version_of_its_package_is_known(
    register: Callable[[str], None], tmp_path: Path
) -> None:
    shutil.copy(EXAMPLE / f"{NAME}.py", tmp_path)
    register(f"{NAME} = {NAME}:WhitenedDifference")
    assert registry.package_of(NAME) == "stranger==1.0"
    assert registry.package_of("caa") == ""


def test_the_command_line_tells_of_it_in_one_line(
    register: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    register("lost = stranger_lost:Lost")
    assert main(["methods"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lost = stranger_lost:Lost cannot be loaded" in line
    assert "Mend or remove the package that registers it." in line
