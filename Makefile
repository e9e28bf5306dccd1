# Five commands. Each makes its own .venv, so that a fresh machine needs Python 3.11+, venv and make.
.PHONY: demo test lint bench clean
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/installed        ## One deletion request, from nothing to an export.
	$(BIN)/unlearn demo

test: .venv/installed        ## The whole test suite; no network, about 10 minutes on two cores: a process each.
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed        ## ruff, mypy, import-linter.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

DATA ?= ../shared/data/tofu

bench: .venv/installed       ## The forgetting benchmark (TOFU: name your copy with DATA=...), hours on two cores.
	$(BIN)/python bench/step.py
	$(BIN)/python bench/forgetting.py --data $(DATA)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-out
