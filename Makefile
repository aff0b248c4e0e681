# Two commands from nothing: `make run`, `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DATA ?=
PORT ?= 3000
DATA_FLAG := $(if $(DATA),--data "$(DATA)")

.PHONY: help install run run-aws ui test test-unit test-deep lint check docs bench bench-accuracy clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: $(INSTALLED) ## make .venv and install from the lock

$(INSTALLED): requirements.lock docker/sagemaker-sdk.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 install")'
	@echo "Installing into .venv: this takes some minutes and prints nothing more unless it fails."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r docker/sagemaker-sdk.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

run: install ## import, tune, forecast, backtest, publish and serve: the built-in sample, or DATA=<folder with train/>
	@$(BIN)/chronos-assets run $(DATA_FLAG)

run-aws: install ## the main job on AWS, on servers of this machine that run its jobs: no account is needed (KEEP=yes keeps them)
	@$(BIN)/python -m chronos_assets_tests.aws --port 0 $(if $(KEEP),--keep) -- $(BIN)/chronos-assets run $(DATA_FLAG)

ui: install ## the Dagster UI with sensors on, and the dashboard, on the same store (PORT=3000)
	@$(BIN)/chronos-assets ui $(DATA_FLAG) --port $(PORT)

test: install ## the whole test suite, in parallel: much of it waits for other processes, hence three workers for each of two cores
	$(BIN)/pytest -n 6 --dist worksteal

test-unit: install ## the quick tests alone: no server, no subprocess, no training
	$(BIN)/pytest -n 2 --dist worksteal -m unit

test-deep: install ## the tests of properties, each with ten times as many examples, others every time
	$(BIN)/pytest -n 2 --dist worksteal -m hypothesis --hypothesis-profile=deep

lint: install ## format, lint, who imports whom, and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

check: install ## load and validate the Dagster definitions
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(BIN)/dg check defs

docs: install ## build the documentation into build/site; a broken link fails
	$(BIN)/python tools/import_graph.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: install ## every benchmark, small sizes; see benchmarks/README.md for the full ones
	$(BIN)/python -m benchmarks

bench-accuracy: install ## base models on the Chronos benchmark: DATA=<folder with its sets>, else from the Hub
	$(BIN)/python -m benchmarks.zero_shot $(if $(DATA),"$(DATA)")

clean: ## remove the environment and caches (never a store)
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache build
