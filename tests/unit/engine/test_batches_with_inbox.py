"""Batch handlers behind an inbox: what is in hand, and what becomes of duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eventzr_kafka import BatchItemError, CloudEvent, MemoryInbox, MessageContext, Record
from eventzr_kafka.events.context import current_tenant, enter_batch, leave
from eventzr_kafka.handlers.deduplication import Deduplicator
from eventzr_kafka.handlers.options import BatchOptions
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.hooks import ConsumerHooks


def events(*named: str) -> list[CloudEvent[Any]]:
    """Events such as ``amber/1``: tenant and id."""
    parts = [each.split("/") for each in named]
    return [CloudEvent(id=number, source="s", type="t", tenantid=tenant) for tenant, number in parts]


async def call(
    deduplicator: Deduplicator, handler: Callable[..., Any], batch: Sequence[CloudEvent[Any]], *, is_async: bool
) -> None:
    options = BatchOptions(max_size=9, max_wait=0.0)
    route = Route("t", Any, None, "handle", "H.handle", is_async=is_async, takes_context=False, batch=options)
    contexts = [MessageContext(Record("t", 0, at, event.tenantid.encode(), b""), "g") for at, event in enumerate(batch)]
    token = enter_batch(batch)
    try:
        result = deduplicator.wrap(route, handler)(list(batch), contexts)
        if is_async:
            await result
    finally:
        leave(token)


@pytest.mark.parametrize("is_async", [True, False])
async def test_batch_keeps_its_tenant(is_async: bool) -> None:  # noqa: FBT001
    held: list[str | None] = []

    def see(_events: Sequence[CloudEvent[Any]]) -> None:
        held.append(current_tenant())

    async def see_async(given: Sequence[CloudEvent[Any]]) -> None:
        see(given)

    deduplicator = Deduplicator(MemoryInbox(), ConsumerHooks())
    handler = see_async if is_async else see
    await call(deduplicator, handler, events("amber/1"), is_async=is_async)
    await call(deduplicator, handler, events("amber/1", "birch/2"), is_async=is_async)
    assert held == ["amber", "birch"]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("others", [[], ["amber/2"]])
async def test_duplicate_of_a_failure_fails(is_async: bool, others: list[str]) -> None:  # noqa: FBT001
    def fail(given: Sequence[CloudEvent[Any]]) -> None:
        raise BatchItemError(given[0]) from KeyError("x")

    async def fail_async(given: Sequence[CloudEvent[Any]]) -> None:
        fail(given)

    batch = events("amber/1", "amber/1", *others)
    deduplicator = Deduplicator(MemoryInbox(), ConsumerHooks())
    with pytest.raises(BatchItemError) as caught:
        await call(deduplicator, fail_async if is_async else fail, batch, is_async=is_async)
    assert [id(event) for event in caught.value.events] == [id(batch[0]), id(batch[1])]
    assert isinstance(caught.value.__cause__, KeyError)
