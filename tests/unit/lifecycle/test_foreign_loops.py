"""Processes in which the SDK cannot work: without asyncio's event loop, or with greenlets in place of threads."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.engine.test_runner import SETTINGS, Handler, Wires
from tests.unit.producing.bench import Transport

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer
from eventzr_kafka._confluent.consumer import ConfluentConsumer
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.errors import ConfigurationError
from eventzr_kafka.handlers.options import ConsumerOptions

EVENT: CloudEvent[Any] = CloudEvent(id="e1", source="s", type="a.b.v1", tenantid="t1", data={})


def begin(work: Coroutine[Any, Any, object]) -> None:
    """Run the first step where no loop of asyncio runs, as trio does."""
    try:
        work.send(None)
    finally:
        work.close()


def producer() -> EventProducer:
    return EventProducer(source="s", settings=SETTINGS, transport=lambda _settings: Transport())


def runner() -> ConsumerRunner:
    return ConsumerRunner(Handler(), settings=SETTINGS, clients=Wires())


@pytest.mark.parametrize(
    ("work", "named"),
    [
        (lambda: producer().__aenter__(), "`async with EventProducer` needs asyncio"),
        (lambda: producer().flush(), "EventProducer.flush needs asyncio"),
        (lambda: runner().__aenter__(), "ConsumerRunner needs asyncio"),
        (lambda: runner().run(), "ConsumerRunner needs asyncio"),
    ],
)
def test_other_back_end_is_named(work: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        begin(work())
    assert 'anyio.run(main, backend="asyncio"); trio is not supported' in str(caught.value)


def test_foreign_await_names_its_event() -> None:
    with producer() as started:
        with pytest.raises(ConfigurationError, match="awaiting event e1, which is in flight, needs asyncio"):
            begin(started.publish(EVENT))
        transport: Any = started._transport
        transport.room = 1
        transport.reported()
        assert transport.sent == ["e1"]
        transport.report()


def patched(monkeypatch: pytest.MonkeyPatch, library: str, *modules: str) -> None:
    """Have a library be loaded that has replaced these modules."""
    if library == "gevent":
        monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=modules.__contains__))
    else:
        monkeypatch.setitem(sys.modules, "eventlet.patcher", SimpleNamespace(is_monkey_patched=modules.__contains__))


@pytest.mark.parametrize(
    ("library", "module", "way"),
    [
        ("gevent", "threading", "gevent.monkey.patch_all(thread=False)"),
        ("eventlet", "thread", "eventlet.monkey_patch(thread=False)"),
    ],
)
def test_greenlets_are_refused(monkeypatch: pytest.MonkeyPatch, library: str, module: str, way: str) -> None:
    patched(monkeypatch, library, "socket", module)
    with pytest.raises(ConfigurationError, match=f"^{library} has replaced the threads of this process") as caught:
        EventProducer(source="s", settings=SETTINGS).start()
    assert way in str(caught.value)
    for kind in (
        lambda: ConfluentConsumer(SETTINGS, "g", ConsumerOptions()),
        lambda: ConfluentLogReader(SETTINGS, "g"),
    ):
        with pytest.raises(ConfigurationError, match=library):
            kind()


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_real_threads_are_served(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    patched(monkeypatch, library, "socket", "select")
    ConfluentProducer(SETTINGS)
