# wsproxy: `make run` serves, `make test` proves, `make check` looks. Each sets up what it needs by itself.
#
#   make run ARGS="--listen 127.0.0.1:3128"      make test ARGS="tests/policy -x"
#   make PYTHON=/usr/bin/python3.12 run          make fuzz FUZZ_SECONDS=300

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?=
ARGS ?=
FUZZ_SECONDS ?= 30
UV ?= uv

bin := .venv/bin
pip := $(bin)/pip --disable-pip-version-check --no-input -q install --require-hashes

.PHONY: help run test coverage check format goals conformance bench fuzz image-test requirements setup-system clean differential ssrf

help:
	@echo 'make run           set up .venv and serve the embedded default on 127.0.0.1:8080'
	@echo 'make test          set up everything, system packages too, and run all tests'
	@echo 'make check         format, lint, types, import contracts, dependencies, security, sizes'
	@echo 'make format        let ruff format and fix what it can'
	@echo 'make coverage      run all tests with branch coverage'
	@echo 'make goals         run the tests of duties under load, and print their figures'
	@echo 'make conformance   run the Autobahn cases direct and through the proxy, and compare'
	@echo 'make bench         measure wsproxy side by side with other proxies'
	@echo 'make fuzz          run every fuzz target for FUZZ_SECONDS=30 seconds'
	@echo 'make differential  send a million mutated requests past a strict reader (goal G2)'
	@echo 'make ssrf          judge a million random spellings of hosts, and as many requests past zones (goal G16)'
	@echo 'make image-test    build the container image, run it and drive it with curl'
	@echo 'make requirements  pin requirements/*.txt again from requirements/*.in'
	@echo 'make clean         remove what these targets made'

# ---------------------------------------------------------------- setting up, each step once

# A stamp is newer than what it was made from, or the step runs again.
.venv/.created: scripts/setup-venv
	@PYTHON='$(PYTHON)' scripts/setup-venv .venv
	@touch $@

.venv/.run: .venv/.created requirements/run.txt requirements/build.txt pyproject.toml
	@echo 'setup: packages to run wsproxy'
	@$(pip) -r requirements/run.txt -r requirements/build.txt
	@$(bin)/pip --disable-pip-version-check --no-input -q install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@echo 'setup: packages to test and check'
	@$(pip) -r requirements/dev.txt
	@touch $@

.venv/.e2e: .venv/.dev requirements/e2e.txt | setup-system
	@echo 'setup: packages to drive real servers with'
	@$(pip) -r requirements/e2e.txt
	@touch $@

.venv/.bench: .venv/.dev requirements/bench.txt
	@echo 'setup: packages to compare with'
	@$(pip) -r requirements/bench.txt
	@touch $@

node := tests/e2e/node
$(node)/node_modules/.installed: $(node)/package.json $(node)/package-lock.json | setup-system
	@echo 'setup: Node.js clients'
	@npm ci --prefix $(node) --no-audit --no-fund --no-update-notifier --loglevel=error </dev/null >/dev/null
	@touch $@

setup-system:
	@scripts/setup-system test

# ---------------------------------------------------------------- what people ask for

run: .venv/.run
	@exec $(bin)/python -m wsproxy run $(ARGS)

test: .venv/.e2e setup-system $(node)/node_modules/.installed
	@$(bin)/python -m pytest $(ARGS)

coverage: .venv/.e2e setup-system $(node)/node_modules/.installed
	@$(bin)/python -m pytest --cov --cov-report=term $(ARGS)

check: .venv/.dev
	@echo 'check: format';       $(bin)/ruff format --check --quiet . || { $(bin)/ruff format --check . ; exit 1; }
	@echo 'check: lint';         $(bin)/ruff check --quiet .
	@echo 'check: types';        $(bin)/mypy --no-error-summary
	@echo 'check: imports';      scripts/quiet $(bin)/lint-imports
	@echo 'check: dependencies'; scripts/quiet $(bin)/deptry .
	@echo 'check: security';     $(bin)/bandit -q -r -c pyproject.toml wsproxy
	@echo 'check: sizes';        $(bin)/python scripts/check_size.py wsproxy

format: .venv/.dev
	@$(bin)/ruff check --fix --quiet . || true
	@$(bin)/ruff format .

goals: .venv/.dev
	@FULL_GOALS=1 $(bin)/python -m pytest -q -s tests/goals $(ARGS)
	@$(bin)/python -m tests.e2e.endless
	@$(bin)/python -m tests.goals.guesses

conformance: .venv/.dev
	@$(bin)/python -m tests.conformance $(ARGS)

bench: .venv/.bench
	@scripts/setup-system bench
	@$(bin)/python benchmarks/run.py $(ARGS)

fuzz: .venv/.dev
	@shopt -s nullglob; for target in fuzz/fuzz_*.py; do \
	  echo "fuzz: $$target, $(FUZZ_SECONDS) s"; \
	  $(bin)/python "$$target" --seconds $(FUZZ_SECONDS); \
	done

differential: .venv/.dev
	@$(bin)/python -m tests.differential $(ARGS)

ssrf: .venv/.dev
	@$(bin)/python -m tests.ssrf --count 1000000 --seed 1

image-test:
	@scripts/image-test

# ---------------------------------------------------------------- upkeep

requirements:
	@scripts/pin-requirements $(UV)

clean:
	rm -rf .venv build dist $(node)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find wsproxy tests benchmarks fuzz scripts -name __pycache__ -type d -prune -exec rm -rf {} +
