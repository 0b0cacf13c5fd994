# One place for every task. A fresh machine needs git, make and python3 with venv; Go builds the other programs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer with venv is needed: set PYTHON=/path/to/python3, or on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "==> Python packages (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^uv==\([^ ]*\).*/uv==\1/p' requirements.lock)"
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: $(READY) ## install the Python packages into .venv

.PHONY: lock
lock: $(READY) ## resolve pyproject.toml into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev --extra otel pyproject.toml -o requirements.lock

.PHONY: format
format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet . || true

.PHONY: lint
lint: $(READY) ## ruff, mypy, import-linter and buf
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	@release="$$(git tag --list 'v*' --sort=-version:refname | head -n 1)"; \
	if [ -n "$$release" ]; then $(BIN)/buf breaking --against ".git#tag=$$release"; \
	else echo "buf breaking: nothing is released yet"; fi

.PHONY: protos
protos: $(READY) ## regenerate fleet/v1 from proto/
	@rm -f fleet/v1/*_pb2*
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=quiet:. \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet,only_async:. \
	  proto/fleet/v1/*.proto
	@rm -f fleet/v1/resource_pb2_grpc.*

.PHONY: protos-check
protos-check: ## fail unless fleet/v1 is what proto/ gives
	@$(MAKE) --no-print-directory protos
	@git diff --exit-code --stat -- fleet/v1 || { echo "fleet/v1 was stale; it has been regenerated: commit it" >&2; exit 1; }

.PHONY: tools
tools: $(READY) ## install the other programs that tests use, pinned, into a per-user cache
	@$(BIN)/python -m tests.rig.tools test

.PHONY: fixtures
fixtures: $(READY) ## make the signed images of the demo again
	@$(BIN)/python -m tests.rig.fixtures

.PHONY: demo
demo: $(READY) ## the whole system on this machine: two sites, signed and unsigned images, live (SPIRE=1, REGISTRY=zot|distribution, JSON=1)
	@$(BIN)/python -m tests.rig.tools demo
	@$(BIN)/python -m tests.demo

.PHONY: test
test: $(READY) ## everything that is checked: lint, generated code, all tests on real programs (REQUIRE=zot,spire: no skips)
	@$(BIN)/python -m tests.rig.tools test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory protos-check
	@$(BIN)/pytest --numprocesses 2 --dist loadfile $(PYTEST)

.PHONY: bench
bench: $(READY) ## measure beside peers in the same run (ONLY=name, QUICK=1)
	@$(BIN)/python -m tests.rig.tools bench
	@$(BIN)/python -m tests.bench

.PHONY: bench-scale
bench-scale: $(READY) ## measure what one Ground Control carries (SATELLITES=2000, WORKERS=2, REGISTERED=100000, ONLY=fleet|registered)
	@$(BIN)/python -m tests.bench.scale

.PHONY: soak
soak: $(READY) ## live through a day of a fleet in minutes, fail on what grows (SATELLITES=300, MINUTES=16, WORKERS=2)
	@$(BIN)/python -m tests.rig.tools bench
	@$(BIN)/python -m tests.bench.scale.soak

.PHONY: clean
clean: ## remove what was built here; the tool cache stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
