# `make` sets up .venv and runs the pipeline on the embedded data set; `make test` runs the tests.
# Set PYTHON to use another interpreter for the environment: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: all setup test test-fast coverage lint clean

all: setup
	$(BIN)/python -m pipeline.mend  # what a kill left half-written of DVC's own files
	VIRTUAL_ENV= $(BIN)/dvc repro  # in .venv, whatever else is activated

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml kernels/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ./kernels -e '.[dev]'
	touch $@

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

test-fast: setup  # what takes no DVC and no long run
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow' --ignore tests/kernels

coverage: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term:skip-covered

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info kernels/build kernels/*.egg-info
