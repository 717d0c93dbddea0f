# Everything a developer runs. Each target sets up what it needs; nothing but Python and make has to be there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.ready

# Temporary files go to memory where there is some: fsync on a slow disk would be most of a test's time.
ifneq ($(wildcard /dev/shm/.),)
export TMPDIR ?= /dev/shm
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format interop prove bench bench-quick lock clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(SETUP)  ## Make .venv with everything that is pinned in requirements/dev.txt

$(SETUP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(SETUP)  ## Push and pull a real image through a throw-away registry, and watch
	$(BIN)/entrepot demo

test: $(SETUP)  ## Run the tests that need no other program
	$(BIN)/python -m pytest -q

check: $(SETUP)  ## Run the linters, the type checker and the documentation's checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(SETUP)  ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

interop: $(SETUP)  ## Run other people's clients and the official conformance suite against us
	$(BIN)/python -m pytest -q -p no:randomly tests/interop

prove: $(SETUP)  ## Run the long proofs; QUICK=1 for a shorter count
	$(BIN)/python -m proofs $(if $(QUICK),--quick)

bench: $(SETUP)  ## Measure against other registries, everything
	$(BIN)/python -m bench.quick --repeats 5

bench-quick: $(SETUP)  ## Measure the targets that are gated
	$(BIN)/python -m bench.quick

lock:  ## Pin the dependencies anew
	uv pip compile pyproject.toml --quiet --extra server --extra blake3 --group dev --universal --generate-hashes \
		--no-emit-index-url --no-header --output-file requirements/dev.txt

clean:  ## Remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
