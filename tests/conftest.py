"""Which broker a test session has got, and the fixtures that hand it out.

``EVENTZR_KAFKA_TEST_BROKER`` decides: with ``auto`` (the default) tests that need a real Kafka are skipped
where none can be had, with ``real`` they fail. ``EVENTZR_KAFKA_TEST_LOOP=uvloop`` runs the tests, and the Pythons that
they start, on uvloop. Either way the session says so at its top.
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

import hypothesis
import pytest
from tests.kafka_classes import use_archive
from tests.machine import COMMAND, NOT_RUN
from tests.postgres import Databases, Postgres
from tests.schedule import LongestFirst, sort_items
from tests.shared_servers import ServerKeeper, shared_kafka, shared_postgres
from tests.uvloop_policy import use_uvloop

from eventzr_kafka.settings import variables
from eventzr_kafka.testing.kafka_server import (
    KafkaServer,
    KafkaUnavailableError,
    describe_kafka,
    unavailable_reason,
)
from eventzr_kafka.testing.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VARIABLE: Final = "EVENTZR_KAFKA_TEST_BROKER"
LOOP_VARIABLE: Final = "EVENTZR_KAFKA_TEST_LOOP"
MARKER: Final = "real_kafka"
VIRTUAL: Final = "virtual_time"
LACKING: Final = "no real Kafka: "
_WANTS: Final = (LACKING, NOT_RUN, "no Node.js for tests: ")

# A busy machine is not a fault: no deadline for an example. CI tries the same examples each time; others try new ones.
# How many there are is said here alone; `make fuzz` has the long form.
hypothesis.settings.register_profile("default", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.register_profile("mutate", deadline=None, derandomize=True, max_examples=20, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "default")

_server = pytest.StashKey[KafkaServer]()
_got = pytest.StashKey[str]()
_not_run = pytest.StashKey[int]()
_keeper = pytest.StashKey[ServerKeeper]()


class TopicFactory(Protocol):
    """Creates a topic with a name of its own on the real Kafka and returns the name."""

    def __call__(self, *, partitions: int = 6, configs: Mapping[str, str] | None = None) -> str: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}: needs a real Kafka; set by itself where `kafka` or `msk` is used")
    config.addinivalue_line("markers", f"{VIRTUAL}: the event loop's clock jumps in place of waiting")
    use_archive()
    if _loop() not in {"asyncio", "uvloop"}:
        raise pytest.UsageError(f"{LOOP_VARIABLE}={_loop()}: must be 'asyncio' or 'uvloop'")
    if _loop() == "uvloop":
        use_uvloop()
    if _broker() not in {"auto", "real"}:
        raise pytest.UsageError(f"{VARIABLE}={_broker()}: must be 'auto' or 'real'")


def pytest_report_header() -> list[str]:
    loop = f"event loop: {_loop()}"
    found = describe_kafka()
    if found is not None:
        return [f"kafka: {found}", loop]
    outcome = "fail" if _broker() == "real" else "be reported as skipped"
    return [f"kafka: none - {unavailable_reason()}; tests marked '{MARKER}' will {outcome}", loop]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and {"kafka", "own_kafka", "msk"} & set(item.fixturenames):
            item.add_marker(MARKER)
    if _keeper_of(config) is not None:
        sort_items(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    return LongestFirst(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests with the marker `virtual_time`, and their fixtures, on a clock that no busy machine can disturb.

    The policy of the other tests is uvloop's where `EVENTZR_KAFKA_TEST_LOOP` asks for it.
    """
    if item.get_closest_marker(VIRTUAL) is not None:
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


def pytest_runtest_teardown(item: pytest.Item) -> None:
    # A test that has ended the broker need not bring it back, least of all when it fails half way.
    server = item.config.stash.get(_server, None)
    if server is not None and not server.running:
        server.start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With several processes, tell each where it finds the servers that they share."""
    keeper = node.config.stash.get(_keeper, None) or ServerKeeper()
    node.config.stash[_keeper] = keeper
    node.workerinput["servers"] = keeper.address


def pytest_unconfigure(config: pytest.Config) -> None:
    if count := config.stash.get(_not_run, 0):
        print(f"not run: {count} test{'s' * (count > 1)}, for want of programs; {COMMAND} installs them (Debian)")  # noqa: T201
    if (keeper := config.stash.get(_keeper, None)) is not None:
        keeper.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With several processes, tell the one that writes the summary which broker this one got."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["kafka"] = session.config.stash.get(_got, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take note of the broker that another process got."""
    if got := getattr(node, "workeroutput", {}).get("kafka"):
        node.config.stash[_got] = got


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    got = config.stash.get(_got, None)
    if got is not None and got != describe_kafka():
        terminalreporter.write_line(f"kafka: got {got}")
    skipped = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    reasons = [reason for reason in skipped if LACKING in reason]
    config.stash[_not_run] = sum(any(word in reason for word in _WANTS) for reason in skipped)
    if reasons:
        text = reasons[0].splitlines()[0].removeprefix("Skipped: ")
        terminalreporter.write_line(f"kafka: tests skipped: {len(reasons)}, {text}", yellow=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> KafkaServer:
    """The session's real Kafka, started when the first test asks for it, and shared by the session's processes."""
    keeper = _keeper_of(pytestconfig)
    if keeper is None:
        own: KafkaServer = request.getfixturevalue("own_kafka")
        return own
    try:
        server = shared_kafka(keeper)
    except KafkaUnavailableError as error:
        if _broker() == "real":
            pytest.fail(f"{VARIABLE}=real, but {error}", pytrace=False)
        pytest.skip(str(error))
    pytestconfig.stash[_got] = server.description
    return server


@pytest.fixture(scope="session")
def own_kafka(kafka_broker: KafkaServer, pytestconfig: pytest.Config) -> Iterator[KafkaServer]:
    """A broker that no other process uses, for tests that end it.

    A module with such tests defines its fixture `kafka` as this one, so that `topic` makes its topics there, too.
    """
    pytestconfig.stash[_server] = kafka_broker
    pytestconfig.stash[_got] = kafka_broker.description
    yield kafka_broker
    del pytestconfig.stash[_server]


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """The session's real PostgreSQL, started when the first test asks for it, and shared by its processes."""
    keeper = _keeper_of(pytestconfig)
    if keeper is not None:
        yield shared_postgres(keeper)
        return
    with Postgres() as server:
        yield server


@pytest.fixture
def topic(kafka: KafkaServer, request: pytest.FixtureRequest) -> TopicFactory:
    """Make topics that no other test uses."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.name)[:100]

    def create(*, partitions: int = 6, configs: Mapping[str, str] | None = None) -> str:
        name = f"{readable}.{uuid.uuid4().hex[:8]}"
        kafka.create_topic(name, partitions=partitions, configs=configs)
        return name

    return create


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that run the command in this process: no settings."""
    for variable in variables():
        monkeypatch.delenv(variable.name, raising=False)


def _keeper_of(config: pytest.Config) -> str | None:
    """The address of what keeps the shared servers, where there are several processes."""
    found: str | None = getattr(config, "workerinput", {}).get("servers")
    return found


def _broker() -> str:
    return os.environ.get(VARIABLE) or "auto"


def _loop() -> str:
    return os.environ.get(LOOP_VARIABLE) or "asyncio"
