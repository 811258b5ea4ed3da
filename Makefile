# make quickstart   set up and run the main job on the embedded model and data
# make test         set up and run the tests
# make test-chaos   set up and run the tests that kill processes for minutes
# make check        set up, then ruff, mypy and the import rules

PYTHON ?= python3.11
BIN := .venv/bin
USABLE := .venv/.usable
READY := .venv/.ready
# What is imported is compiled then: to compile all files takes as long as the rest of the set-up.
INSTALL := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
# The pip that comes with Python 3.11 needs half as long again to find what to install.
define VENV
$(PYTHON) -m venv .venv
$(INSTALL) --upgrade pip
endef
DECLARED := pyproject.toml constraints.txt build_backend/backend.py build_backend/_steereval_hook.py
ROOMS := harness models ray_jobs results tasks
OUT ?= runs/quickstart
# Images of Python often forbid it to keep what it has compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart test test-chaos check setup format clean

setup: $(READY)

# What users run needs none of the tools of development.
$(USABLE): $(DECLARED)
	$(VENV)
	$(INSTALL) --editable .
	touch $(USABLE)

$(READY): $(DECLARED)
	$(VENV)
	$(INSTALL) --editable ".[dev]"
	touch $(USABLE) $(READY)

quickstart: $(USABLE)
	$(BIN)/steereval run examples/quickstart.yaml --out $(OUT)

test: $(READY)
	$(BIN)/steereval models fetch smollm2-135m
	$(BIN)/steereval tasks fetch realtoxicity_mini
	$(BIN)/steereval tasks fetch profanity_classifier
	$(BIN)/pytest --numprocesses 2 --dist worksteal

test-chaos: $(READY)
	$(BIN)/steereval models fetch smollm2-135m
	$(BIN)/steereval tasks fetch realtoxicity_mini
	$(BIN)/steereval tasks fetch profanity_classifier
	$(BIN)/pytest -m chaos

check: $(READY) .typed/steereval
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .typed && ../$(BIN)/mypy --config-file ../pyproject.toml --package steereval
	$(BIN)/pytest -q tests/test_architecture.py

# mypy wants to see the package as it is installed: one folder with the rooms inside.
.typed/steereval: Makefile $(wildcard harness/*.py)
	rm -rf .typed && mkdir -p $@
	ln -s $(foreach room,$(filter-out harness,$(ROOMS)),../../$(room)) $@/
	for file in harness/*; do ln -s ../../$$file $@/; done

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .typed build dist *.egg-info
