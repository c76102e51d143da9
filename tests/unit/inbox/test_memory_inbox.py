"""The inbox in memory: a window over the last events of one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from eventzr_kafka import BatchItemError, CloudEvent, MemoryInbox, MessageContext, Record
from eventzr_kafka.handlers.deduplication import InboxCleaner
from eventzr_kafka.inbox.protocol import Handled, ReceivedEvent


def deliveries(*ids: str) -> list[ReceivedEvent]:
    context = MessageContext(Record("t", 0, 0, b"t", b""), "g")
    return [(CloudEvent(id=each, source="s", type="t", tenantid="t"), context) for each in ids]


def delivery(tenant: str, source: str, event_id: str = "42") -> ReceivedEvent:
    event = CloudEvent(id=event_id, source=source, type="t", tenantid=tenant)
    return event, MessageContext(Record("t", 0, 0, tenant.encode(), b""), "g")


class Handler:
    def __init__(self, error: Exception | None = None) -> None:
        self.called: list[str] = []
        self.error = error
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, given: Sequence[ReceivedEvent], session: Any) -> None:
        assert session is None
        self.called += [event.id for event, _ in given]
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def test_handled_event_is_left_out() -> None:
    inbox, handler = MemoryInbox(), Handler()
    await inbox.handle(deliveries("a", "b", "a"), handler)
    handled = await inbox.handle(deliveries("b", "c"), handler)
    assert handler.called == ["a", "b", "c"]
    assert [event.id for event, _ in handled.duplicates] == ["b"]


async def test_one_id_of_two_tenants_is_two() -> None:
    inbox, handler = MemoryInbox(), Handler()
    await inbox.handle([delivery("a", "svc-a"), delivery("b", "svc-a")], handler)
    handled = await inbox.handle([delivery("a", "svc-b"), delivery("a", "svc-a")], handler)
    assert handler.called == ["42", "42", "42"]
    assert [(event.tenantid, event.source) for event, _ in handled.duplicates] == [("a", "svc-a")]


async def test_full_window_forgets_the_oldest() -> None:
    inbox, handler = MemoryInbox(size=2), Handler()
    for event_id in "abcab":
        await inbox.handle(deliveries(event_id), handler)
    assert handler.called == ["a", "b", "c", "a", "b"]


async def test_what_failed_is_handled_again() -> None:
    inbox, handler = MemoryInbox(), Handler(ValueError())
    with pytest.raises(ValueError):  # noqa: PT011
        await inbox.handle(deliveries("a"), handler)
    handler.error = None
    await inbox.handle(deliveries("a"), handler)
    assert handler.called == ["a", "a"]


async def test_named_batch_event_reruns() -> None:
    inbox, batch = MemoryInbox(), deliveries("a", "b")
    failure = BatchItemError(batch[0][0])
    assert (await inbox.handle(batch, Handler(failure))).failure is failure
    await inbox.handle(deliveries("a", "b"), handler := Handler())
    assert handler.called == ["a"]


@pytest.mark.parametrize("error", [None, ValueError()])
async def test_second_of_two_waits_for_first(error: Exception | None) -> None:
    def handle(given: Sequence[ReceivedEvent], _session: Any) -> None:
        assert given

    inbox, first, second = MemoryInbox(), Handler(error), Handler()
    first.gate.clear()
    one = asyncio.create_task(inbox.handle(deliveries("a", "b"), first))
    await asyncio.sleep(0)
    other = asyncio.create_task(inbox.handle(deliveries("b"), second))
    begun = threading.Event()

    def wait_in_thread() -> Handled:
        begun.set()
        return inbox.handle_in_thread(deliveries("b"), handle)

    in_thread = asyncio.create_task(asyncio.to_thread(wait_in_thread))
    await asyncio.to_thread(begun.wait, 60)
    assert second.called == []
    first.gate.set()
    await asyncio.gather(one, return_exceptions=True)
    duplicates = len((await other).duplicates) + len((await in_thread).duplicates)
    assert duplicates == (2 if error is None else 1)


async def test_threads_with_events_in_opposite_order_do_not_deadlock() -> None:
    inbox, called, lock = MemoryInbox(), list[str](), threading.Lock()

    def handle(given: Sequence[ReceivedEvent], _session: Any) -> None:
        with lock:
            called.extend(event.id for event, _ in given)

    orders = [deliveries("a", "b"), deliveries("b", "a")] * 50
    async with asyncio.timeout(60):
        await asyncio.gather(*(asyncio.to_thread(inbox.handle_in_thread, order, handle) for order in orders))
    assert sorted(called) == ["a", "b"]


def test_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="size=0"):
        MemoryInbox(size=0)


async def test_tidying_finishes_its_step() -> None:
    class Slow(MemoryInbox):
        steps = 0
        gate = asyncio.Event()

        async def purge_expired(self) -> bool:
            await self.gate.wait()
            self.steps += 1
            return True

    inbox = Slow()
    cleaner = InboxCleaner([inbox])
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(cleaner.stop())
    await asyncio.sleep(0)
    inbox.gate.set()
    await ending
    assert inbox.steps == 1
