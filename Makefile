# Everything runs from a bare clone with python3 and make; `make PYTHON=python3.13 test` picks another Python.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help study test test-slow lint bench lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/'

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 11) else "Ablax needs Python 3.11 or newer, not %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

study: $(READY)  ## train the default study on embedded data and print its answer
	$(BIN)/python launch.py study default

test: $(READY) lint  ## format, lint, types and tests, without the slow ones
	$(PYTEST) -m "not slow"

test-slow: $(READY)  ## the tests marked slow: together with `make test`, all of them
	$(PYTEST) -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(READY)  ## speed against PyTorch, a plain Flax loop and gensim (installs them)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch>=2.9' 'gensim>=4.4'
	$(BIN)/python -m experiments.benchmarks.mlp
	$(BIN)/python -m experiments.benchmarks.conv
	$(BIN)/python -m experiments.benchmarks.recurrent
	$(BIN)/python -m experiments.benchmarks.word2vec

lock:  ## pin the newest versions again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --upgrade --extra dev pyproject.toml --output-file requirements.lock

clean:  ## remove the environment
	rm -rf $(VENV)
