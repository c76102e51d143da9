"""Pauses that grow, and sleeping until an event is set."""

from __future__ import annotations

import asyncio
import math

import pytest

from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.lifecycle.waiting import sleep_until_set


def test_pause_doubles_up_to_longest() -> None:
    assert [exponential_pause(tries, first=0.5, longest=3) for tries in range(5)] == [0.5, 1, 2, 3, 3]


def test_pause_grows_by_its_multiplier() -> None:
    assert exponential_pause(2, first=1, longest=math.inf, multiplier=3) == 9


def test_pause_beyond_all_numbers_is_the_longest() -> None:
    assert exponential_pause(5000, first=1.0, longest=60) == 60


@pytest.mark.virtual_time
async def test_sleeping_ends_when_the_event_is_set() -> None:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(2, event.set)

    await sleep_until_set(event, 10)

    assert loop.time() - began == pytest.approx(2)


@pytest.mark.virtual_time
async def test_sleeping_ends_after_its_seconds() -> None:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()

    await sleep_until_set(event, 10)

    assert loop.time() - began == pytest.approx(10)
    assert not event.is_set()
