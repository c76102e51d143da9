# Each command sets up what it needs on first use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
EDITABLE := --editable . --editable ./marketplace-events

# A test run starts dozens of Pythons: each would compile the code again where the machine forbids to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo check test quick test-uvloop test-lowest check-pythons coverage coverage-pure compatibility torture simulate fuzz mutate bench
.PHONY: lint types mypy pyright build docs reference setup pins clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: first-time $(READY)  ## the marketplace service and a subscriber, a day of two tenants; KEEP=1 stays up, with a page
	$(BIN)/python -m examples.demo $(if $(KEEP),keep)

check: lint types test  ## what a change must pass: lint, types, and every test

# The suite waits more than it works: five processes, which share one broker, keep two cores busy.
test: $(READY)  ## every test, with all set-up (SETUP=1: also with sudo); the header names the broker
	@$(BIN)/python -m tests.machine
	$(BIN)/pytest -n 5 --dist loadfile

quick: $(READY)  ## what needs no broker, no database and no browser; a minute of CPU
	$(BIN)/pytest -n 3 --dist loadfile -m 'not torture and not real_kafka and not slow' tests/unit tests/architecture

test-uvloop: $(READY)  ## what depends on the event loop, on uvloop and a real Kafka; the other targets take asyncio's loop
	EVENTZR_KAFKA_TEST_LOOP=uvloop EVENTZR_KAFKA_TEST_BROKER=real $(BIN)/pytest -n 3 --dist loadfile \
	  -m 'not torture and not slow' tests/unit/lifecycle tests/unit/cli tests/unit/confluent tests/contract tests/process/test_process_end.py \
	  $(patsubst %,tests/broker/test_%.py,consumer_basics producer shutdown cli_embedded cli_workers)

# One file on a real broker besides the unit tests.
test-lowest: .venv/lowest/.ready  ## the unit tests with the lowest versions that pyproject.toml declares
	@$(BIN)/python -m tests.machine
	.venv/lowest/bin/python -m pytest -q -n 3 --dist worksteal -m 'not torture and not slow' \
	  tests/unit tests/process tests/broker/test_roundtrip.py

.venv/lowest/.ready: requirements/lowest.txt pyproject.toml marketplace-events/pyproject.toml
	$(PYTHON) -m venv .venv/lowest
	.venv/lowest/bin/python -m pip install --quiet --requirement requirements/lowest.txt
	PATH="$(CURDIR)/.venv/lowest/bin:$$PATH" .venv/lowest/bin/python -m pip install --quiet --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

check-pythons: $(READY)  ## wheels, quick start and unit tests on each Python that the classifiers name; PYTHONS="3.12 3.13"
	$(BIN)/python -m tests.packaging.pythons $(PYTHONS)

# What decides in values, without a clock, a thread or a socket: its own unit tests see every branch, with few examples.
ROOMS := codec events handlers engine dead_letters
PURE := codec/content_mode codec/limits codec/media_type codec/not_json codec/size_hints codec/skim codec/strict_json \
  codec/unfit codec/wire_model events/ handlers/options handlers/retry engine/commit_metadata engine/lanes engine/ledger \
  dead_letters/claim dead_letters/journal dead_letters/letter dead_letters/order dead_letters/parked_keys dead_letters/state
coverage-pure: $(READY)  ## the unit tests of the pure modules see 100 % of their branches
	HYPOTHESIS_PROFILE=mutate COVERAGE_FILE=.coverage.pure $(BIN)/pytest -q -n 2 --dist loadfile \
	  -m 'not torture and not real_kafka and not slow' --cov --cov-report= $(ROOMS:%=tests/unit/%)
	COVERAGE_FILE=.coverage.pure $(BIN)/coverage report --fail-under 100 --skip-covered --show-missing \
	  --include "$$(echo $(PURE:%=src/eventzr_kafka/%*) | tr ' ' ,)"

coverage: coverage-pure  ## the same, and 90 % of all branches by the whole suite; .coverage-html/ shows the rest
	$(BIN)/pytest -q -n 5 --dist loadfile --cov --cov-report=html:.coverage-html --cov-report=
	$(BIN)/coverage report --fail-under 90 --skip-covered --sort cover

compatibility: $(READY)  ## this version beside the previous one: wheels of both, one group, one commit; wants the whole git history
	EVENTZR_KAFKA_TEST_BROKER=real $(BIN)/pytest tests/packaging -m compatibility

torture: $(READY)  ## members killed under load, on a real Kafka; minutes
	EVENTZR_KAFKA_TEST_BROKER=real $(BIN)/pytest tests/torture tests/broker/test_dead_letter_outage.py -m torture -s -o timeout=1800 -o faulthandler_timeout=3600

SEEDS ?= 20000
simulate: $(READY)  ## seeded crash histories of the SDK's own services; SEEDS=20000 takes a minute or two
	$(BIN)/python -m tests.simulation.soak --seeds $(SEEDS) $(SIMULATE)

RECORDS ?= 1000000
fuzz: $(READY)  ## RECORDS changed records, read the quick and the careful way; the property tests, 2,000 examples each
	$(BIN)/python -m tests.unit.codec.mutated_records --records $(RECORDS)
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -q -n 2 --dist worksteal -o timeout=3600 -o faulthandler_timeout=7200 \
	  -m 'hypothesis and not real_kafka' tests/unit
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -q -n 2 --dist worksteal tests/unit/codec/test_skim.py

mutate: $(READY)  ## change the engine's pure parts bit by bit: do their tests see it? docs/mutation.md
	PATH="$(CURDIR)/$(BIN):$$PATH" HYPOTHESIS_PROFILE=mutate $(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/python -m tests.mutation_report

# Tests want a broker that is up soon; figures want the one that is fast in the long run.
JVM := KAFKA_JVM_PERFORMANCE_OPTS=-XX:+UseG1GC
bench: $(READY) .venv/bench/.ready  ## against a bare client and the peers, two hours; BENCH='--case publish --rounds 1'
	$(JVM) $(BIN)/python -m benchmarks $(BENCH)
ifndef BENCH
	$(JVM) $(BIN)/python -m benchmarks.outbox
	$(JVM) $(BIN)/python -m benchmarks.inbox
endif

.venv/bench/.ready: requirements/bench.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --requirement requirements/bench.txt && touch $@ \
	  || echo "some peers do not install: the table will say so"

lint: $(READY)  ## style, formatting, spelling, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: mypy pyright  ## mypy and pyright, both strict

mypy: $(READY)
	$(BIN)/mypy

pyright: $(READY)
	$(BIN)/pyright --warnings

# Each distribution's wheel is built from its sdist: what the sdist lacks is found here.
RELEASE := .venv/release/bin
build: $(READY) .venv/release/.ready  ## wheel and sdist of both distributions in dist/, checked, installed and run
	rm -rf dist
	for project in . marketplace-events; do \
	  PATH="$(CURDIR)/$(RELEASE):$$PATH" $(RELEASE)/python -m build --no-isolation --outdir dist $$project || exit 1; done
	$(RELEASE)/twine check --strict dist/*
	$(RELEASE)/check-wheel-contents --toplevel eventzr_kafka,eventzr_kafka_pytest --ignore W009 dist/eventzr_kafka-*.whl
	$(RELEASE)/check-wheel-contents --toplevel eventzr_marketplace_events dist/eventzr_marketplace_events-*.whl
	WHEELS=dist $(BIN)/pytest -q tests/packaging/test_wheels.py

.venv/release/.ready: requirements/release.txt
	$(PYTHON) -m venv .venv/release
	.venv/release/bin/python -m pip install --quiet --requirement requirements/release.txt && touch $@

docs: $(READY)  ## README and docs tell the truth: snippets run, links and commands exist, generated pages are current
	$(BIN)/codespell README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs examples/README.md
	$(BIN)/pytest -q tests/unit/project/test_docs.py tests/unit/test_settings.py tests/outbox/test_readme.py \
	  tests/example/test_readme.py

reference: $(READY)  ## the pages of docs/reference that come from the code
	$(BIN)/python docs/reference/generate.py

setup: $(READY)  ## .venv with both distributions, editable, and the tools; `make setup PYTHON=python3.12`

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

COMPILE := $(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11
EXTRAS := --extra cli --extra msk --extra testing --extra uvloop --extra outbox-postgres --extra outbox-sqlite
UPGRADE ?= --upgrade
pins: $(READY)  ## renew the pins in requirements/; UPGRADE= adds what is new and moves nothing else
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) $(UPGRADE) $(EXTRAS) requirements/dev.in pyproject.toml --output-file requirements/dev.txt
	$(COMPILE) $(UPGRADE) requirements/release.in --output-file requirements/release.txt
	$(COMPILE) $(UPGRADE) $(EXTRAS) --resolution lowest-direct requirements/lowest.in pyproject.toml \
	  --output-file requirements/lowest.txt

clean:  ## remove what was set up, built and cached
	rm -rf .venv build dist mutants .coverage .coverage.* .coverage-html .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
