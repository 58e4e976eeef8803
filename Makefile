# Everything that is done to this repository has a name here; .ci/run does the same in a fresh clone.
# `make` alone lists the names. PYTHON=... chooses the Python that .venv is made of.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv/bin
# Tools such as buf look for their plugins on the path.
export PATH := $(CURDIR)/$(VENV):$(PATH)

# What may be given:
MODEL ?=
TESTS ?= tests
# One more than cores: tests wait for processes much of the time.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
FAULTS ?=
BENCH ?=

.PHONY: help setup model demo test check check-full proto lint type arch contract house bench faults faults-quick schedules up constraints clean

help: ## List what can be made
	@echo "Heddle: make TARGET"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS='|' read -r name text; do printf '%-13s %s\n' "$$name" "$$text"; done

setup: ## Make .venv and install all that is needed; instant when nothing changed
	@$(call with_python,.ci/environment.py $(chosen) dev)

model: ## Install the small local model, too: its tests run then
	@$(call with_python,.ci/environment.py $(chosen) dev local)

demo: ## Show Heddle at work on this machine; MODEL=scripted needs no model
	@$(call with_python,.ci/environment.py $(chosen) dev $(if $(filter scripted,$(MODEL)),,local))
	@$(VENV)/python -m heddle_cli demo $(if $(MODEL),--model $(MODEL))

test: setup ## Run every test but the fault injection; TESTS=tests/unit runs some
	@$(VENV)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal --durations 5 $(TESTS)

check: setup lint type arch contract house ## Check all that can be checked without starting anything, and the unit tests
	@$(VENV)/python -m pytest -n $(WORKERS) --maxprocesses 8 tests/unit

check-full: ## Run what CI runs, in its order, and what takes longer: 2,000 bad requests an RPC, every change of a clock
	@.ci/run
	@HEDDLE_BAD_INPUT_CASES=2000 HEDDLE_SERVICES_BAD_INPUT_CASES=2000 $(MAKE) test TESTS="tests/system/test_runtime_bad_input.py tests/system/test_services_bad_input.py"
	@$(MAKE) schedules

proto: setup ## Generate libs/heddle and all other made files from their sources
	@buf format --write
	@$(VENV)/python .ci/generate.py
	@$(VENV)/python .ci/errors_page.py
	@$(VENV)/python .ci/diagram.py
	@$(VENV)/python .ci/schema.py
	@$(VENV)/python .ci/help_text.py

lint: setup ## Check the style of Python and of the protos
	@failed=0; \
	$(VENV)/ruff check . || failed=1; \
	$(VENV)/ruff format --check . || failed=1; \
	buf lint || failed=1; \
	buf format --diff --exit-code || failed=1; \
	exit $$failed

type: setup ## Check the types, strictly
	@$(VENV)/pyright --warnings
	@$(VENV)/pyright --warnings --project bench

arch: setup ## Check who imports whom
	@$(VENV)/lint-imports --no-logo

contract: setup ## Check that generated code is fresh, and that no client of the last release breaks
	@failed=0; \
	$(VENV)/python .ci/generate.py --check || failed=1; \
	$(VENV)/python .ci/breaking.py || failed=1; \
	exit $$failed

house: setup ## Check file lengths, left-over marks, host names, links and made files
	@failed=0; \
	$(VENV)/python .ci/lines.py || failed=1; \
	$(VENV)/python .ci/texts.py || failed=1; \
	$(VENV)/python .ci/links.py || failed=1; \
	$(VENV)/python .ci/errors_page.py --check || failed=1; \
	$(VENV)/python .ci/diagram.py --check || failed=1; \
	$(VENV)/python .ci/schema.py --check || failed=1; \
	$(VENV)/python .ci/help_text.py --check || failed=1; \
	exit $$failed

bench: setup ## Measure everything, and print ratios to the ceiling; BENCH="..." is passed on
	@$(VENV)/python bench/everything.py $(BENCH)

faults: setup ## Break everything on purpose and check the promises; FAULTS="..." is passed on
	@$(VENV)/python -m tests.faults $(FAULTS)

faults-quick: setup ## Break the most telling things on purpose, in four minutes at most
	@$(VENV)/python -m tests.faults --quick $(FAULTS)

schedules: setup ## Hold cron to a brute-force walk of every clock change of every zone
	@$(VENV)/python -m tests.kit.schedule_oracle

up: setup ## Serve Heddle here: one process, one port, files in one folder
	@$(VENV)/python -m heddle_cli up

constraints: setup ## Pin the newest versions that fit, in constraints.txt
	@$(VENV)/python .ci/environment.py --pin

clean: ## Remove caches and built files; .venv and served data stay
	@rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache build dist
	@find . -path ./.venv -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf

# The first Python that fits and can make environments, unless PYTHON was given.
ifeq ($(origin PYTHON),undefined)
  chosen :=
  define with_python
	for python in python3 python3.13 python3.12 python3.11 python; do \
	    $$python -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
	    exec $$python $(1); \
	done; \
	echo "setup: no Python 3.11, 3.12 or 3.13 with venv and pip was found: install one, or set PYTHON to it" >&2; exit 1
  endef
else
  chosen := --this-python
  with_python = $(PYTHON) $(1)
endif
