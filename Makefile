# Each target works as the first command on a fresh machine: it makes .venv on its way. `make help` lists them.
PYTHON ?=
ARGS ?=
READY := .venv/.ready
BIN := .venv/bin

export PYTHON

.PHONY: help setup demo test lint format bench bench-ladder pins clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14
	@echo 'ARGS="..." is handed on to demo, test and bench; PYTHON=... names the Python that makes .venv.'

setup: $(READY) ## make .venv with everything pinned (the others do it by themselves)

$(READY): pyproject.toml constraints.txt
	@bash scripts/set-up.sh

demo: $(READY) ## make a room, film it, label the film, score the labels (four minutes on 2 cores, most of it dense stereo)
	@$(BIN)/ovseg3r demo $(ARGS)

# All: in three processes, for on 2 cores some only wait; a file's tests in one of them, the longest files first. Chosen ones: as pytest runs them.
ALL_TESTS := -n 3 --dist loadfile --no-loadscope-reorder tests/end_to_end tests/flows tests/contracts tests/unit

test: $(READY) ## all tests
	@$(BIN)/python -m pytest $(or $(ARGS),$(ALL_TESTS))

lint: $(READY) ## style, types, the direction of imports, the pins; says all that fails
	@failed=; \
	check() { name=$$1; shift; "$$@" || failed="$$failed $$name"; }; \
	check ruff-check $(BIN)/python -m ruff check; \
	check ruff-format $(BIN)/python -m ruff format --check; \
	check mypy $(BIN)/python -m mypy; \
	check imports $(BIN)/lint-imports --no-logo; \
	check pins $(BIN)/python scripts/pins.py --check; \
	test -z "$$failed" || { echo "lint: failed:$$failed"; exit 1; }; \
	echo "lint: all good"

format: $(READY) ## put the style right
	@$(BIN)/python -m ruff check --fix
	@$(BIN)/python -m ruff format

bench: $(READY) ## the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

bench-ladder: $(READY) ## what each part of the method is worth: 90 minutes on 2 cores (ARGS="--scale gpu")
	@$(BIN)/python -m benchmarks.ladder $(ARGS)

pins: $(READY) ## write constraints.txt from what .venv has
	@$(BIN)/python scripts/pins.py

clean: ## remove .venv, caches and what demo and bench wrote
	rm -rf .venv *.egg-info build dist demo bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
