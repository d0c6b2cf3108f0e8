# Everything a person or CI does here, by one short name each. Needs Python >= 3.11 and make; nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
UV_VERSION := 0.13.8
# Programs and tests start faster with compiled modules kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.servers/bin:$(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mcpwatch needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/uv
	$(UV) --require-hashes -r requirements.lock
	$(UV) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(UV) --require-hashes -r requirements-dev.lock
	@touch $@

.servers/.done: requirements-servers.lock | $(BIN)/uv
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .servers
	$(BIN)/uv pip install --quiet --compile-bytecode --python .servers/bin/python --require-hashes -r requirements-servers.lock
	@touch $@

.PHONY: cluster setup up test check fmt lint types layers slow docs lock clean
setup: $(VENV)/.run .servers/.done ## Install mcpwatch and the example servers

up: setup ## Run the quickstart fleet: gateway on 127.0.0.1:9090 and three real MCP servers
	@$(BIN)/mcpwatch up --config examples/quickstart.yaml

dev: $(VENV)/.dev .servers/.done
.PHONY: dev

test: dev ## Run the quick test suite
	$(BIN)/python -m pytest -n auto -m "not slow and not needs"

slow: dev ## Run every test, with whatever parts this machine has
	$(BIN)/python -m pytest -n 4 --hypothesis-profile full

cluster: dev ## Run the tests that need several engines (root, Docker, .ci/parts)
	MCPWATCH_CLUSTER=1 MCPWATCH_REQUIRE=swarm-nodes $(BIN)/python -m pytest -m alone tests/runtimes/test_swarm_nodes.py tests/runtimes/test_swarm_outage.py tests/runtimes/test_swarm_takeover.py

fmt: dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: dev ## Lint without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev ## Type-check, strictly
	$(BIN)/pyright

layers: dev ## Check the floors and doors of the house
	$(BIN)/lint-imports

check: lint types layers test ## All of what must be green before a commit

docs: dev ## Regenerate every page and schema that is made from code
	$(BIN)/python -m tools.docs

lock: | $(BIN)/uv ## Recompute the hashed locks
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev --extra otel --extra kubernetes -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra kubernetes -o requirements-kubernetes.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-servers.in -o requirements-servers.lock

clean: ## Remove what setup installed
	rm -rf $(VENV) .servers .parts
