# The two commands of the README are `make demo` and `make test`; each sets up what it needs on first use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EDITABLE := --editable . --editable ./marketplace-events

# A test run starts dozens of Pythons: each would compile the code again where the machine forbids to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick test-lowest torture simulate mutate bench lint types mypy pyright reference setup pins clean

demo: first-time $(READY)  ## the marketplace service and a subscriber, a day of two tenants; KEEP=1 stays up, with a page
	$(BIN)/python -m examples.demo $(if $(KEEP),keep)

# The suite waits more than it works: five processes, which share one broker, keep two cores busy.
test: $(READY)  ## every test, with all set-up (SETUP=1: also with sudo); the header names the broker
	@$(BIN)/python -m tests.machine
	$(BIN)/pytest -n 5 --dist loadfile

quick: $(READY)  ## what needs no broker, no database and no browser; under a minute
	$(BIN)/pytest -n 3 --dist loadfile -m 'not torture and not real_kafka and not slow' tests/unit tests/architecture

# Units, and one file on a real broker, with the lowest versions that pyproject.toml declares.
test-lowest: .venv/lowest/.ready
	@$(BIN)/python -m tests.machine
	.venv/lowest/bin/python -m pytest -q -n 3 --dist worksteal -m 'not torture and not slow' \
	  tests/unit tests/broker/test_roundtrip.py

.venv/lowest/.ready: requirements/lowest.txt pyproject.toml marketplace-events/pyproject.toml
	$(PYTHON) -m venv .venv/lowest
	.venv/lowest/bin/python -m pip install --quiet --requirement requirements/lowest.txt
	PATH="$(CURDIR)/.venv/lowest/bin:$$PATH" .venv/lowest/bin/python -m pip install --quiet --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

torture: $(READY)  ## members killed under load, on a real Kafka; minutes
	EVENTZR_KAFKA_TEST_BROKER=real $(BIN)/pytest tests/torture tests/broker/test_dead_letter_outage.py -m torture -s -o timeout=1800 -o faulthandler_timeout=3600

SEEDS ?= 20000
simulate: $(READY)  ## seeded crash histories of the SDK's own services; SEEDS=20000 takes a minute or two
	$(BIN)/python -m tests.simulation.soak --seeds $(SEEDS) $(SIMULATE)

mutate: $(READY)  ## change the engine's pure parts bit by bit: do their tests see it? docs/mutation.md
	PATH="$(CURDIR)/$(BIN):$$PATH" HYPOTHESIS_PROFILE=mutate $(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/python -m tests.mutation_report

# Tests want a broker that is up soon; figures want the one that is fast in the long run.
JVM := KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseG1GC
bench: $(READY) .venv/bench/.ready  ## against a bare client and the peers, on a real Kafka; half an hour
	$(JVM) $(BIN)/python -m benchmarks $(BENCH)
	$(JVM) $(BIN)/python -m benchmarks.outbox
	$(JVM) $(BIN)/python -m benchmarks.inbox

.venv/bench/.ready: requirements/bench.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --requirement requirements/bench.txt && touch $@ \
	  || echo "some peers do not install: the table will say so"

lint: $(READY)  ## style, formatting and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: mypy pyright  ## both strict

mypy: $(READY)
	$(BIN)/mypy

pyright: $(READY)
	$(BIN)/pyright --warnings

reference: $(READY)  ## the pages of docs/reference that come from the code
	$(BIN)/python docs/reference/generate.py

setup: $(READY)

.PHONY: first-time
first-time:
	@test -e $(READY) || echo "first time: a minute to set up"

$(READY): requirements/dev.txt pyproject.toml marketplace-events/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements/dev.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(EDITABLE)
	@touch $(READY)

pins: $(READY)  ## renew requirements/dev.txt from dev.in and pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --upgrade --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --extra cli --extra msk --extra testing --extra outbox-postgres --extra outbox-sqlite \
	  requirements/dev.in pyproject.toml --output-file requirements/dev.txt
	$(BIN)/uv pip compile --upgrade --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	  --resolution lowest-direct --python-version 3.11 --extra cli --extra msk --extra testing --extra outbox-postgres \
	  --extra outbox-sqlite requirements/lowest.in pyproject.toml --output-file requirements/lowest.txt

clean:
	rm -rf .venv build dist mutants .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
