"""`lm_eval --model steereval` and its alias `odesteer`: normal and editable install."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from lm_eval.api.registry import get_model

from steereval.harness.cli.main import main
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.tasks.catalogue.index import task_folder

ROOT = Path(__file__).parents[3]
SITE = sysconfig.get_paths()["purelib"]


def arguments(model: str, name: str) -> list[str]:
    steering = "method=caa,contrast=truthful-mini,fraction=0.1,layer=1,strength=2"
    return [
        *("--model", name, "--model_args", f"pretrained={model},dtype=float32,{steering}"),
        *("--tasks", "truthful_mini_mc", "--include_path", str(task_folder())),
        *("--limit", "4", "--device", "cpu"),
    ]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run outside the repository, so that nothing is imported from it by chance."""
    return subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_table(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr[-2000:]
    assert "|truthful_mini_mc|" in done.stdout
    assert "mc1" in done.stdout
    assert "mc2" in done.stdout


@pytest.mark.parametrize(
    ("script", "name"),
    [
        pytest.param("lm_eval", "odesteer", marks=pytest.mark.slow),
        pytest.param("python -m lm_eval", "steereval", marks=pytest.mark.chaos),
        pytest.param("steereval lm-eval", "steereval", marks=pytest.mark.chaos),
    ],
)
def test_from_this_environment(tiny_folder: str, script: str, name: str) -> None:
    """This environment holds an editable install."""
    program, *rest = script.split()
    command = [str(Path(sys.executable).parent / program), *rest, *arguments(tiny_folder, name)]
    assert_table(run(command))


@pytest.mark.slow
def test_an_error_is_one_sentence(tiny_folder: str) -> None:
    command = [str(Path(sys.executable).parent / "lm_eval"), *arguments(tiny_folder, "steereval")]
    done = run([word.replace("method=caa", "method=caaa") for word in command])
    assert done.returncode == 1
    assert "steereval: error: unknown method 'caaa'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment into which the project was installed normally.

    Everything else comes from this environment's site-packages, whose own start-up files (the
    editable install's among them) are not read there.
    """
    folder = tmp_path_factory.mktemp("installed")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = run([*wheel, "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)])
    assert done.returncode == 0, done.stderr
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    site = Path(
        run([str(python), "-c", "import sysconfig as s; print(s.get_paths()['purelib'])"])
        .stdout.strip()
    )  # fmt: skip
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    (built,) = folder.glob("*.whl")
    done = run([*install, "--no-deps", "--no-index", "--disable-pip-version-check", str(built)])
    assert done.returncode == 0, done.stderr
    (site / "everything-else.pth").write_text(SITE + "\n")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("steereval", marks=pytest.mark.chaos), "odesteer"])
def test_after_a_normal_install(tiny_folder: str, installed: Path, name: str) -> None:
    where = run([str(installed), "-c", "import steereval; print(steereval.__file__)"])
    assert str(ROOT) not in where.stdout, where.stdout
    assert_table(run([str(installed), "-m", "lm_eval", *arguments(tiny_folder, name)]))


@pytest.mark.slow
def test_a_normal_install_puts_no_other_names_into_site_packages(installed: Path) -> None:
    names = {path.name.split("-")[0] for path in (installed.parents[1]).glob("lib/*/*/*")}
    assert not names & {"models", "tasks", "results", "harness", "ray_jobs", "tests"}


@pytest.mark.slow
def test_the_hook_can_be_turned_off(installed: Path) -> None:
    code = (
        "import lm_eval.models; from lm_eval.api.registry import model_registry as r;"
        "print('steereval' in r, 'odesteer' in r, 'hf' in r)"
    )
    on = run([str(installed), "-c", code])
    off = run([str(installed), "-c", code], STEEREVAL_NO_LM_EVAL_HOOK="1")
    assert on.stdout.split() == ["True", "True", "True"]
    assert off.stdout.split() == ["False", "False", "True"]


def test_starting_python_imports_nothing_for_the_hook() -> None:
    tree = ast.parse((ROOT / "src" / "_steereval_hook.py").read_text())
    imported = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [alias.name for node in imported for alias in node.names] == ["sys"]


@pytest.mark.slow
def test_lm_eval_works_when_the_project_cannot_be_imported(installed: Path) -> None:
    """The placeholder is lazy: other models never touch it."""
    code = (
        "import sys; sys.modules['steereval.harness.engine.steered_lm'] = None;"
        "from lm_eval.api.registry import get_model; print(get_model('dummy').__name__)"
    )
    done = run([str(installed), "-c", f"import lm_eval.models; {code}"])
    assert done.stdout.strip() == "DummyLM", done.stderr


def test_the_entry_points_name_the_registered_class() -> None:
    points = entry_points(group="lm_eval.models")
    classes = {name: points[name].load() for name in ("steereval", "odesteer")}
    assert classes == dict.fromkeys(classes, SteeredLM)
    assert {name: get_model(name) for name in classes} == classes


def test_the_listings(capsys: pytest.CaptureFixture[str]) -> None:
    assert "MISSING" not in str(main(["methods"])) + capsys.readouterr().out
    assert main(["methods"]) == main(["models"]) == main(["tasks"]) == 0
    out = capsys.readouterr().out
    for name in ("odesteer", "caa", "smollm2-135m", "truthful_mini_mc", "truthful-mini"):
        assert name in out
