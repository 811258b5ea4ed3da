# make quickstart   set up and run the main job on the bundled model and data
# make test-fast    set up and run the tests that need no download and take less than 0.3 s each
# make test         set up and run the tests
# make test-chaos   set up and run the tests that kill processes or start long programs
# make fuzz         set up and give damaged files to every reader, 20 000 in all
# make coverage     make test, with the share of the code that it runs
# make check        set up, then ruff, mypy, pyright and the import rules
# make docs         set up and build the documentation into site/; a broken link is an error

PYTHON ?= python3.11
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
USABLE := .venv/.usable
READY := .venv/.ready
CHECKERS := .venv/.checkers
DOCUMENTERS := .venv/.documenters
INSTALL := $(BIN)/python build_backend/install.py $(CONSTRAINTS)
DECLARED := pyproject.toml $(CONSTRAINTS) build_backend/backend.py build_backend/install.py \
	src/_steereval_hook.py
OUT ?= runs/quickstart
# Images of Python often forbid it to keep what it has compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart assets test-fast test test-chaos fuzz coverage check docs schema setup format clean

setup: $(READY)

# What users run needs none of the tools of development.
$(USABLE): $(DECLARED)
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $(USABLE)

$(READY): $(DECLARED)
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable ".[dev]"
	touch $(USABLE) $(READY)

# Pyright brings a Node.js of 60 MB, which no test needs.
$(CHECKERS): $(READY)
	$(INSTALL) --editable ".[dev,check]"
	touch $(CHECKERS)

$(DOCUMENTERS): $(USABLE)
	$(INSTALL) --editable ".[docs]"
	touch $(DOCUMENTERS)

quickstart:
	@echo "make quickstart: sets up .venv (half a minute to two minutes, once), fetches a model of 93 MB"
	@echo "(half a minute, once), and computes the 48 cells of examples/quickstart.yaml on the CPU, with"
	@echo "the verdicts of the first task on the way and a report at the end."
	@$(MAKE) --no-print-directory $(USABLE)
	$(BIN)/steereval run examples/quickstart.yaml --out $(OUT)

IN_PARALLEL := --numprocesses 2 --dist worksteal

assets: $(READY)
	$(BIN)/steereval models fetch smollm2-135m
	$(BIN)/steereval tasks fetch realtoxicity_mini
	$(BIN)/steereval tasks fetch profanity_classifier

test-fast: $(READY)
	HYPOTHESIS_PROFILE=fast $(BIN)/pytest $(IN_PARALLEL) -m "not chaos and not slow and not real"

test: assets
	$(BIN)/pytest $(IN_PARALLEL)

test-chaos: assets
	$(BIN)/pytest -m chaos

fuzz: $(READY)
	FUZZ_INPUTS=20000 $(BIN)/pytest $(IN_PARALLEL) tests/fuzz

coverage: assets
	$(BIN)/pytest $(IN_PARALLEL) --cov --cov-report=term:skip-covered

check: $(CHECKERS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -q tests/test_architecture.py tests/test_private_access.py

schema: $(READY)
	$(BIN)/python -m steereval.harness.config.schemas docs

docs: $(DOCUMENTERS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist site src/*.egg-info .coverage*
