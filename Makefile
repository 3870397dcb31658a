# What people run. Every target sets up what it needs: a virtual environment with pinned packages.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed

.PHONY: run test check bench bench-data bench-gate bench-train bench-compress clean

run: $(STAMP) ## play the whole loop on the embedded example
	$(BIN)/ratchet demo

test: $(STAMP) check ## everything that must hold
	$(BIN)/pytest

check: $(STAMP) ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## the full iteration on real text; the last line is one JSON object
	$(BIN)/python -m tests.bench.banking77

bench-data: $(STAMP) ## a million rows, and real text with planted dirt; the last line is one JSON object
	$(BIN)/python -m tests.bench.data

bench-gate: $(STAMP) ## the gate's errors and power by simulation; the last line is one JSON object
	$(BIN)/python -m tests.bench.gate

bench-train: $(STAMP) ## training: speed, few examples, a student, a warm search; the last line is one JSON object
	$(BIN)/python -m tests.bench.train

bench-compress: $(STAMP) ## a search over compression passes against int8 and Olive's; the last line is one JSON object
	$(BIN)/python -m tests.bench.compress

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,dev]'
	touch $(STAMP)

clean: ## remove the virtual environment and what the tools left
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
