# Two commands do everything: `make app` and `make test`. Each sets up what it needs and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Two workers, one computing thread each: the suite is sized for two cores.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: app test test-full lint setup clean

app: $(VENV)/.app
	$(BIN)/workbench app

test: $(VENV)/.dev
	$(PYTEST) -m "not full and not gpu"

test-full: $(VENV)/.dev
	$(PYTEST) -m "full and not gpu"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.app

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is older: run 'make app PYTHON=python3.12' or another."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.app: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing the workbench into $(VENV) (a few minutes the first time)"
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.app
	$(PIP) --editable '.[dev]'
	@sh tests/browser/provide_chromium.sh "$(BIN)/python"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
