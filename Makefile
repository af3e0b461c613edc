# Two commands: `make demo` and `make test`. Both set up what they need in .venv; `make test` also installs
# the servers of tests/debian-packages.txt, where it may. The rest of the machine is left alone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One thread for numeric libraries: on few cores it is faster, and versions are bit-equal on machines of any core count.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-slow test-all lint setup mlflow servers clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## the whole story on a fabricated plant: train, drift, retrain, roll back
	$(BIN)/watchkeeper --engine prefect demo

test: $(READY) lint servers ## lint, types, arrows and tests
	$(BIN)/python -m pytest

test-slow: $(READY) mlflow servers ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-all: test test-slow ## both

servers: ## databases that tests start, as Debian packages; where root may not install them, tests are skipped
	@tests/debian-packages.sh

lint: $(READY) ## ruff, mypy and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(READY) ## create .venv and install, nothing else

mlflow: $(VENV)/mlflow/.ready ## MLflow's page for `watchkeeper up`, in an environment of its own

$(VENV)/mlflow/.ready: $(READY) infra/mlflow-constraints.txt
	@test -x $(VENV)/mlflow/bin/python || $(PYTHON) -m venv $(VENV)/mlflow
	$(VENV)/mlflow/bin/pip install --quiet --constraint infra/mlflow-constraints.txt mlflow psycopg2-binary
	@touch $@

# torch first and alone: any looser request brings gigabytes of GPU packages. constraints.txt names every version.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or run make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes the first time"
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean: ## remove the environment and what demo and tests left
	rm -rf $(VENV) .watchkeeper .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
