# `make` alone lists the targets. Everything is installed into .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
OLDEST := 3.11

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types docs check format clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(BASE) ## the whole story on real handwritten digits; its results go to ./demo
	@echo "== rebalance demo: train, extract, rebalance and judge; results in ./demo"
	@$(BIN)/rebalance demo demo

test: $(DEV) ## all tests, with warnings as errors and the branch-coverage floor
	@echo "== pytest: all tests, branch coverage of the three packages"
	@$(BIN)/python -m pytest --cov --numprocesses auto --dist loadfile

lint: $(DEV) ## style, format and spelling
	@echo "== ruff and codespell: style, format, spelling"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run 'make format'"; exit 1; }
	@$(BIN)/codespell

types: $(DEV) ## static types of the three packages
	@echo "== mypy --strict: the three packages"
	@$(BIN)/mypy

docs: $(DEV) ## the documentation as a site, in build/docs/html
	@echo "== sphinx: the documentation, with warnings as errors"
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --builder html \
	  --doctree-dir build/docs/doctrees docs build/docs/html
	@echo "build/docs/html/index.html"

check: test lint types docs ## everything above but the demo: what a change must pass

format: $(DEV) ## put the code into its format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

clean: ## remove .venv, ./demo, caches and build folders
	rm -rf $(VENV) demo build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BASE): pyproject.toml constraints.txt
	@$(make-venv)
	@echo "== installing the project into $(VENV) (the first time: some minutes)"
	@$(PIP) -e .
	@touch $@

# It installs all that the base stamp stands for, so it sets that stamp too.
$(DEV): pyproject.toml constraints.txt
	@$(make-venv)
	@echo "== installing the project, timm, transformers and the development tools into $(VENV) (the first time: some minutes)"
	@$(PIP) -e ".[dev,docs,bench,timm]"
	@touch $(BASE) $@

define make-venv
$(BIN)/python -c "import pip" 2>/dev/null || { \
  $(PYTHON) -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$(OLDEST)'.split('.'))))" 2>/dev/null || \
  { echo "'$(PYTHON)' is no Python $(OLDEST) or newer: name one, as in 'make PYTHON=/path/to/python$(OLDEST)'" >&2; exit 1; }; \
  echo "== making $(VENV) with $$($(PYTHON) --version)"; \
  $(PYTHON) -m venv $(VENV); }
endef
