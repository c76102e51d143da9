"""The simulation: without violations, sensitive to every deliberate fault, and the same each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.mutants import MUTANTS, Mutant, highest_seen
from tests.simulation.services import SERVICES, Accounts, Ledger, Ordered

from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_kafka.errors import ConfigurationError
from eventzr_kafka.testing import SimulationFailedError, simulate
from eventzr_kafka.testing.simulation import SimulatedService, history_of

ROOT = Path(__file__).parents[2]
DIGEST = """
from eventzr_kafka.testing import simulate
from tests.simulation.services import {0}
print(simulate({0}, seed=7, histories=10).digest)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_no_history_breaks_an_invariant(service: type) -> None:
    report = simulate(service, seed=1_000_000, histories=25)  # `make simulate` plays thousands
    assert report.histories == 25
    assert report.coverage["while a handler ran"] >= 2


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_deliberate_fault_is_caught(mutant: Mutant) -> None:
    with pytest.raises(SimulationFailedError) as caught, mutant.broken():
        simulate(mutant.service, histories=1_000)
    assert not re.search("TypeError|AttributeError", str(caught.value).partition("\n")[0])  # the mutant is out of date


@pytest.mark.parametrize("service", [Ledger, Accounts])
def test_seed_repeats_in_every_process(service: type) -> None:
    def digest(hash_seed: str) -> str:
        code = DIGEST.format(service.__name__)
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
        return done.stdout

    assert digest("1") == digest("2") == f"{simulate(service, seed=7, histories=10).digest}\n"


def test_failing_seed_is_shortened() -> None:
    with highest_seen(), pytest.raises(SimulationFailedError) as first:
        simulate(Ledger)
    with highest_seen(), pytest.raises(SimulationFailedError) as again:
        simulate(Ledger, seed=first.value.seed, histories=1)
    assert str(again.value) == str(first.value)
    assert f"simulate(handlers, seed={first.value.seed}, histories=1)" in str(first.value)
    assert any("polls" in line for line in first.value.history)
    assert len(first.value.history) < 40


def test_history_is_described_in_words() -> None:
    history = history_of(Ledger, 0)
    assert "joins ledger as ledger-1" in history
    assert "commits simulation.item.ordered.v1" in history


def test_more_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    assert simulate(Ledger, histories=16, processes=2).coverage == simulate(Ledger, histories=16).coverage


def test_group_may_have_dots_in_its_name() -> None:
    @kafka_consumer(group_id="svc.items.v1", drain_timeout=0.3)
    class Dotted:
        def __init__(self, _service: SimulatedService) -> None: ...

        @on_message(Ordered)
        async def handle(self, event: CloudEvent[Ordered]) -> None: ...

    assert simulate(Dotted, histories=20).histories == 20


def test_handler_needs_a_payload_class() -> None:
    @kafka_consumer(group_id="plain")
    class Plain:
        def __init__(self, _service: SimulatedService) -> None: ...

        @on_message("some.topic.of.others.v1")
        async def handle(self, event: CloudEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="needs a payload class"):
        simulate(Plain)
