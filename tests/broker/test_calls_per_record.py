"""What one record costs on its way to the handler: Python calls of the SDK on the loop's thread, and its frames."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import eventzr_kafka
from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    EventProducer,
    KafkaSettings,
    embedded_broker,
    kafka_consumer,
    on_message,
)
from eventzr_kafka.engine import turn
from eventzr_marketplace_events import ListingCreated
from eventzr_marketplace_events.examples import example

if TYPE_CHECKING:
    from types import FrameType

SDK: Final = str(Path(eventzr_kafka.__file__).parent)
EVENTS: Final = 3001
TENANTS: Final = 50
SECONDS: Final = 60.0


def calls_of_sdk() -> tuple[Counter[str], Any]:
    """A counter, and the profile function that counts in it."""
    calls: Counter[str] = Counter()

    def profile(frame: FrameType, kind: str, _argument: object) -> None:
        if kind == "call" and frame.f_code.co_filename.startswith(SDK):
            calls[frame.f_code.co_qualname] += 1

    return calls, profile


def frames_above() -> list[str]:
    """The SDK's frames between the event loop and the caller."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(SDK):
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found


async def test_record_takes_6_calls_and_1_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_LENGTH", SECONDS)  # a slow machine takes more turns
    calls, profile = calls_of_sdk()
    frames: set[tuple[str, ...]] = set()
    done = asyncio.Event()
    left = EVENTS

    @kafka_consumer(group_id="profiled", group_protocol="consumer")
    class Profiled:
        @on_message(ListingCreated)
        async def handle(self, _event: CloudEvent[ListingCreated]) -> None:
            nonlocal left
            if left == EVENTS:  # what runs once is done
                sys.setprofile(profile)
            frames.add(tuple(frames_above()))
            left -= 1
            if not left:
                sys.setprofile(None)
                done.set()

    with embedded_broker() as broker:
        settings = KafkaSettings(brokers=broker.bootstrap_servers)
        async with EventProducer(settings=settings, source="marketplace-svc") as producer, asyncio.timeout(SECONDS):
            data = example(ListingCreated)
            for number in range(EVENTS):
                producer.enqueue(data, tenant_id=f"t{number % TENANTS}")
            await producer.flush()
            async with ConsumerRunner(Profiled(), settings=settings):
                try:
                    await done.wait()
                finally:
                    sys.setprofile(None)

    assert frames == {("Dispatcher._work",)}
    assert calls.total() / (EVENTS - 1) <= 6, calls.most_common(12)
