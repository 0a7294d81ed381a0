# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer with pip, no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test coverage lint types check bench clean

demo: $(READY)
	$(BIN)/chargen demo

test: $(READY)
	$(BIN)/python -m pytest -q

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --skip-empty

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

bench: $(READY)
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/sampling_speed.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/repl.py
	$(BIN)/python benchmarks/goals.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "chargen needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group test --group lint
	@touch $@

clean:
	rm -rf $(VENV) dist build .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
