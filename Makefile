# One line per target; the virtual environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: up test check format proto bench clean
up: .venv/installed ; $(BIN)/conclave up
test: check ; $(BIN)/pytest
check: .venv/installed ; $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
format: .venv/installed ; $(BIN)/ruff format . && $(BIN)/ruff check --fix .
proto: .venv/installed ; $(BIN)/python -m tools.proto
bench: .venv/installed ; $(BIN)/python -m tools.bench.compare
clean: ; rm -rf .venv .cache build dist *.egg-info

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
