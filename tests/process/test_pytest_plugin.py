"""The pytest plugin: cheap for those who do not use it, and at home with every way of running async tests."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

pytestmark = pytest.mark.slow

PLUGIN = "eventzr_kafka_pytest"
GUIDE = """
import asyncio
import pytest
from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_kafka.testing import in_virtual_time
from eventzr_marketplace_events import ListingCreated, OrderCompleted, example

@kafka_consumer(group_id="your-service-marketplace-consumer")
class MarketplaceEventHandler:
    @on_message(ListingCreated)
    async def handle_listing_created(self, event: CloudEvent[ListingCreated]) -> None:
        print(f"New listing in lane {event.data.lane}: {event.data.title}")

    @on_message("eventzr.marketplace.order.completed.v1")
    async def handle_order_completed(self, event: CloudEvent[OrderCompleted]) -> None:
        print(f"Order {event.data.id} completed for {event.tenantid}")
"""
TEST = """
async def test_new_listing_is_announced(events, capsys):
    events.subscribe(MarketplaceEventHandler())
    await events.emit(example(ListingCreated), tenant_id="t1")
    assert capsys.readouterr().out == "New listing in lane vendora: Premium Catering Service\\n"
"""
SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]
AUTO = [*SCOPE, "-o", "asyncio_mode=auto"]
WAYS = {
    "asyncio, auto mode": ([*AUTO, "-p", "no:anyio"], ""),
    "asyncio, strict mode": ([*SCOPE, "-p", "no:anyio"], "@pytest.mark.asyncio"),
    "both": (AUTO, ""),
    "anyio": (["-p", "no:asyncio"], "@pytest.mark.anyio"),
    "neither": (["-p", "no:asyncio", "-p", "no:anyio"], "@in_virtual_time"),
}


def pytest_says(folder: Path, source: str, *options: str) -> str:
    """What a pytest of its own says about a file; as in a service, which has no conftest of ours."""
    (folder / "test_service.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-o", "filterwarnings=error", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, cwd=folder)
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_guide_is_tested_in_four_lines(way: str, tmp_path: Path) -> None:
    options, mark = WAYS[way]
    anyio_backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"

    said = pytest_says(tmp_path, f"{GUIDE}{anyio_backend}\n{mark}{TEST}", *options)

    assert re.search(r"^1 passed", said, re.MULTILINE), said


def cpu_seconds(tests: int, folder: Path) -> float:
    """Processor time of a pytest that runs the guide's test so many times: other work on the machine does not count."""
    many = TEST.replace("async def", f'@pytest.mark.parametrize("number", range({tests}))\nasync def')
    source = GUIDE + many.replace("(events, capsys)", "(events, capsys, number)")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    said = pytest_says(folder, source, *AUTO)

    assert re.search(rf"^{tests} passed", said, re.MULTILINE), said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_99_more_tests_cost_under_5_s(tmp_path: Path) -> None:
    assert cpu_seconds(100, tmp_path) - cpu_seconds(1, tmp_path) < 5


def test_failure_names_handler_and_event(tmp_path: Path) -> None:
    source = (GUIDE + TEST).replace('print(f"New', 'raise LookupError("no seat") #')

    said = pytest_says(tmp_path, source, *AUTO)

    assert "MarketplaceEventHandler.handle_listing_created: LookupError: no seat; attempt 1" in said
    assert "retried, not done: ListingCreated(id='listing-uuid'" in said
    assert re.search(r"test_service.py:\d+: LookupError", said)  # the cause, with its traceback
    assert "_memory_service.py" not in said


def test_embedded_broker_has_an_address(tmp_path: Path) -> None:
    source = "def test_it(embedded_broker):\n    assert ':' in embedded_broker.bootstrap_servers\n"

    assert "1 passed" in pytest_says(tmp_path, source, "-p", "no:asyncio")


def test_loading_the_plugin_imports_nothing_and_takes_under_5_ms() -> None:
    code = f"""
import sys, time, pytest
before, began = set(sys.modules), time.process_time()
import {PLUGIN}
print(time.process_time() - began, *sorted(set(sys.modules) - before))
"""
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(3)]
    seconds, loaded = zip(*(run.stdout.split(maxsplit=1) for run in runs), strict=True)

    assert {text.strip() for text in loaded} == {PLUGIN}
    assert min(map(float, seconds)) < 0.005


def test_run_without_fixtures_loads_no_sdk_and_no_pydantic(tmp_path: Path) -> None:
    heavy = ["eventzr_kafka", "confluent_kafka", "pydantic"]
    source = f"import sys\ndef test_it():\n    assert [name for name in {heavy} if name in sys.modules] == []\n"

    said = pytest_says(tmp_path, source, "-p", "no:asyncio")

    assert "1 passed" in said, said


@pytest.mark.real_kafka
def test_kafka_broker_serves_clients(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("kafka_broker")

    server.create_topic(name := f"plugin.{uuid.uuid4().hex[:8]}", partitions=1)

    assert name in AdminClient({"bootstrap.servers": server.bootstrap_servers}).list_topics(timeout=10).topics
