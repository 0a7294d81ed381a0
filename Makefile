# Every target first sets up $(VENV): Python 3.11 or newer with pip is all that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Where to get torch from, when not from pip's own index. On Linux that index serves the CUDA build,
# which is gigabytes large. A machine without a GPU needs only the CPU build:
#   make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# The built-in schemas of check-jsonschema need no network.
SCHEMA := $(BIN)/check-jsonschema --builtin-schema
FORMS := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

# The models in the box again, from a folder of texts, one file an author: make base BOOKS=books
base: $(READY)
	for name in english python tiny; do $(BIN)/python benchmarks/base.py $$name $(BOOKS) || exit 1; done

.PHONY: base demo gpu test coverage lint types schemas package guises check bench clean

demo: $(READY)
	$(BIN)/chargen demo

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# The tests that need an NVIDIA GPU, and benchmarks/gpu.py.
gpu: $(READY)
	CHARGEN_GPU_TESTS=1 $(BIN)/python -m pytest -q tests/training/test_cuda_graphs.py
	$(BIN)/python benchmarks/gpu.py

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

schemas: $(READY)
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) vendor.dependabot .github/dependabot.yml
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA) vendor.github-issue-forms $(FORMS)

# Builds dist/, then installs each distribution in a fresh environment and uses it from another
# folder. `build` makes the wheel from the sdist. The build backend is in $(VENV) already, so
# neither step needs a network.
package: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m pytest -q --noconftest tests/packaging/check_distributions.py

# Runs the tests that depend on the processor as lesser machines would run them.
guises: $(READY)
	$(BIN)/python tests/guises.py all

check: lint types schemas test package guises

bench: $(READY)
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/sampling_speed.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/memory.py builtin:python-docs builtin:python-code --minutes 2
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/repl.py
	$(BIN)/python benchmarks/goals.py

# --no-deps: the index of torch may lack the exact versions of what torch itself needs, and pip's
# own index has them.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "chargen needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
ifneq ($(strip $(TORCH_INDEX)),)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --index-url $(TORCH_INDEX) torch
endif
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group test --group lint --group package
	@touch $@

clean:
	rm -rf $(VENV) dist build .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
