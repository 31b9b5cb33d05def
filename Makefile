# make demo    install what the run needs, then 20 s of a trained LSTM on a simulated stream
# make test    install everything, run the whole suite
# make lint    formatter, linter, strict types, import law
# make audit   known faults of the pinned packages, and sbom.json
# make bench   speed figures, as a table and as JSON (BENCH=--quick: a walk through all of them in minutes)
PYTHON ?= python3
BIN := .venv/bin
TORCH ?= torch==2.13.0
BENCH ?=
WORKERS ?= $(shell echo $$(( $$(nproc) + 1 )))

.PHONY: demo test warm lint bench audit clean
.DEFAULT_GOAL := demo

demo: .venv/.run
	$(BIN)/neuroloop demo --seconds 20

test: warm
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

warm: .venv/.dev
	@echo "Compiling the kernels (once; a minute) ..."
	$(BIN)/python -m tests.warm_kernels

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench
	$(BIN)/python -m benchmarks --out benchmarks/out $(BENCH)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 must be version 3.11 or newer, got " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing what the run needs into .venv (once; a minute or two) ..."
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.run
	@echo "Installing what training and the tests need (once; a minute or two) ..."
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt $(TORCH) -e '.[train,dev]'
	@touch $@

.venv/.bench: .venv/.dev
	@echo "Installing the peers of the benchmarks ..."
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e '.[train,dev,bench]'
	@touch $@

# a tool in an environment of its own; reports, and fails nothing: a database that is away must not stop a build
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	-.venv-audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip --progress-spinner off
	.venv-audit/bin/cyclonedx-py requirements constraints.txt --output-file sbom.json

clean:
	rm -rf .venv .venv-audit sbom.json build *.egg-info
