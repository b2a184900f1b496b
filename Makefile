# Every target makes what it needs: `make demo` works on a machine with Python 3.11 and make alone.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
RUN    := $(VENV)/.runtime
TEST   := $(VENV)/.test
LINT   := $(VENV)/.lint
PYTEST_OPTIONS ?=
CHAOS_OPTIONS ?=
SOURCES ?=

# The first Python on PATH that is new enough; `make PYTHON=…` names another one.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test check lint types bench chaos serve clean
.DEFAULT_GOAL := check

demo: $(RUN)
	$(BIN)/tingbo demo

serve: $(RUN)
	$(BIN)/tingbo serve $(SOURCES)

test: $(TEST)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

bench: $(TEST)
	$(BIN)/python -m tests.bench

# Takes some minutes: real processes, killed and cut off while rooms are on the air.
chaos: $(TEST)
	$(BIN)/python -m tests.chaos $(CHAOS_OPTIONS)

# The gate of a change: CI runs nothing else but this and the demo.
check: lint types
	$(MAKE) test PYTEST_OPTIONS="--cov=pipeline $(PYTEST_OPTIONS)"

lint: $(LINT)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(LINT)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "tingbo needs Python 3.11 or newer and finds none on PATH;" \
		"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 3; }
	$(PYTHON) deploy/bootstrap.py $(VENV)

# The stamps say what is installed; a changed pyproject.toml installs again.
$(RUN): pyproject.toml | $(BIN)/python
	@echo "Installing tingbo into $(VENV) (once; the next run starts at once)"
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --editable .
	@touch $@

$(TEST): $(RUN)
	$(PIP) install --group test
	@touch $@

$(LINT): $(TEST)
	$(PIP) install --group lint --group deploy
	@touch $@
