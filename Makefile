# `make help` lists the targets. Everything is installed into .venv, with the versions in constraints.txt.
# PYTHON=...     the Python (3.11 or newer) that makes .venv
# PIP_FLAGS=...  further options for pip, such as --index-url for the CPU or the CUDA build of PyTorch

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_FLAGS ?=
EXTRAS ?=
WORKERS ?= 2

# A stamp says what .venv holds; it is out of date as soon as the requirements or their pins change.
CORE := $(VENV)/.installed-core
TEST := $(VENV)/.installed-test
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
PINS := pyproject.toml constraints.txt

# One thread per test worker: two workers with a thread pool each would fight for two cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=15

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow bench lint format wheelhouse install-offline clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile
	@sed -n '2,3s/^# //p' Makefile

demo: $(CORE)  ## install once, then train and judge a small model; the last line says where report.html is
	$(BIN)/medseg demo --out demo-run --overwrite

test: $(TEST)  ## the whole test suite but its slow proofs
	$(PYTEST) -m "not slow"

test-slow: $(TEST)  ## the slow proofs, and the property tests with new random examples
	$(PYTEST) -m slow
	$(PYTEST) -m "hypothesis and not slow" --hypothesis-profile fresh

bench: $(BENCH)  ## reading, augmentation, training and prediction against the tools that people use today, as ratios
	$(BIN)/python benchmarks/io.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/inference.py

lint: $(DEV)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(DEV)  ## rewrite files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# pip builds medseg's own wheel with the others. Collect on the system and the Python that will install them.
wheelhouse: | $(BIN)/python  ## collect all wheels with their hashes for a machine without a network (EXTRAS=test adds pytest)
	rm -rf wheelhouse
	$(PIP) wheel $(PIP_FLAGS) -c constraints.txt --wheel-dir wheelhouse $(if $(EXTRAS),'.[$(EXTRAS)]',.)
	$(BIN)/python tools/wheelhouse.py wheelhouse --extras '$(EXTRAS)'

# --isolated and PIP_CONFIG_FILE keep pip's environment variables and settings files out of it.
install-offline:  ## a new .venv from wheelhouse/ alone, every hash checked
	@test -f wheelhouse/requirements.txt || { \
	  echo "wheelhouse/requirements.txt is missing. Run 'make wheelhouse' on a machine with a network and copy the folder here."; \
	  exit 2; }
	rm -rf $(VENV)
	$(MAKE) $(BIN)/python
	PIP_CONFIG_FILE=/dev/null $(PIP) --isolated install --no-index --find-links wheelhouse --require-hashes \
	  -r wheelhouse/requirements.txt
	touch $(CORE)
	@if grep -q '^# extras:.*test' wheelhouse/requirements.txt; then touch $(TEST); fi
	@if grep -q '^# extras:.*dev' wheelhouse/requirements.txt; then touch $(DEV); fi

clean:  ## remove what make made: .venv, demo-run, caches; wheelhouse/ stays
	rm -rf $(VENV) demo-run build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CORE): $(PINS) | $(BIN)/python
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(TEST): $(PINS) | $(BIN)/python
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e '.[test]'
	@touch $(CORE) $@

$(DEV): $(PINS) | $(BIN)/python
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e '.[test,dev]'
	@touch $(CORE) $(TEST) $@

$(BENCH): $(PINS) | $(BIN)/python
	$(PIP) install $(PIP_FLAGS) -c constraints.txt -e '.[test,bench]'
	@touch $(CORE) $(TEST) $@

# The first Python that starts and is new enough; `python3` first, because it is the one that the user chose.
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$python could not make $(VENV). On Debian and Ubuntu install python3-venv."; exit 2; \
	  fi; \
	done; \
	echo "No Python 3.11 or newer found (looked for: $(CANDIDATES)). Install one, or name it: make PYTHON=/path/to/python"; \
	exit 2
