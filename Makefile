# Everything runs from .venv, which `make setup` makes; nothing is installed outside this folder.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Exits with 0 in a Python that is new enough.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# The first Python of at least 3.11 on this machine; `make PYTHON=/path/to/python setup` takes another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(NEW_ENOUGH) 2>/dev/null && echo $$python && break; done)

# pip is told what matters here, whatever its configuration on this machine says.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=1 $(BIN)/python -m pip

# Tests start hundreds of processes: without bytecode on disk each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

SOAK_DURATION ?= 10m
SOAK_CLIENTS ?= 2000
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types tests format bench soak fuzz lock clean

help: ## show this
	@echo "imctl: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

setup: $(READY) ## make .venv and install what the lock names; nothing to do when up to date

# A .venv that is there is kept (installing over it is quick) unless its Python is gone or too old.
$(READY): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) $(NEW_ENOUGH) 2>/dev/null || { \
		echo "make: imctl needs Python 3.11 or newer; found $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
		echo "hint: install one, or name it: make PYTHON=/path/to/python3 $(or $(MAKECMDGOALS),setup)" >&2; exit 1; }
	@{ $(BIN)/python $(NEW_ENOUGH) && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "make: $(PYTHON) cannot make a virtual environment." >&2; \
		echo "hint: on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing into $(VENV) (once; takes a minute or less)"
	@$(PIP) install --quiet --require-hashes --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## start a cluster, run scenarios/room.yaml on it, show the report, leave nothing running
	@$(BIN)/imctl sim scenarios/room.yaml --clients 1000

test: lint types tests ## lint, types and every test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

tests: setup
	$(BIN)/pytest -n auto --dist worksteal $(PYTEST_ARGS)

format: setup ## let ruff put layout and import order right
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

bench: setup ## what the speed claims come from; under 5 minutes, on an otherwise idle machine
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: setup ## the tests that take long, then a long run: SOAK_DURATION=10m SOAK_CLIENTS=2000
	$(BIN)/pytest -n auto --dist worksteal -m soak $(PYTEST_ARGS)
	$(BIN)/imctl sim scenarios/room.yaml --duration $(SOAK_DURATION) --clients $(SOAK_CLIENTS)

fuzz: setup ## the property tests with new random input, far more of it
	$(BIN)/pytest -n auto --dist worksteal -m hypothesis --hypothesis-profile=fuzz --timeout=0 $(PYTEST_ARGS)

# Keeps what is locked as long as it fits pyproject.toml; `make lock LOCK_ARGS=--upgrade` takes the newest.
lock: ## write requirements.lock again: exact versions and hashes for every platform and Python
	@test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv==$(UV_VERSION); }
	build/lock/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
		--quiet --output-file requirements.lock $(LOCK_ARGS)

clean: ## remove .venv and everything made here
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find imctl protocol sim tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
