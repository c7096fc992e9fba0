# `make` sets up .venv and runs the pipeline on the embedded data set; `make test` runs the tests.
# Set PYTHON to use another interpreter for the environment: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: all setup test lint clean

all: setup
	VIRTUAL_ENV= $(BIN)/dvc repro  # in .venv, whatever else is activated

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info
