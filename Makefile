# One line per target; the virtual environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: up test check format proto bench differential fuzz sim sim-determinism sim-mutants clean
up: .venv/installed ; $(BIN)/conclave up
test: check ; $(BIN)/pytest
check: .venv/installed ; $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
format: .venv/installed ; $(BIN)/ruff format . && $(BIN)/ruff check --fix .
proto: .venv/installed ; $(BIN)/python -m tools.proto
bench: .venv/installed ; $(BIN)/python -m tools.bench.compare
differential: .venv/installed ; $(BIN)/python -m tests.differential --operations $(or $(OPS),10000) --seed $(or $(SEED),1) --against $(or $(AGAINST),cluster)
fuzz: .venv/installed ; $(BIN)/python -m tests.fuzz --target "$(TARGET)" --seconds $(or $(SECONDS),60)
sim: .venv/installed ; $(BIN)/python -m tests.simulator $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200) --first $(or $(FIRST),0)) $(if $(STEPS),--steps $(STEPS)) $(SIM)
sim-determinism: .venv/installed ; $(BIN)/python -m tests.simulator --determinism $(or $(SEEDS),100) --first $(or $(FIRST),0)
sim-mutants: .venv/installed ; $(BIN)/python -m tests.simulator.mutants $(NUMBERS) --seeds $(or $(SEEDS),2000) $(if $(STEPS),--steps $(STEPS)) $(SIM)
clean: ; rm -rf .venv .cache build dist *.egg-info

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
