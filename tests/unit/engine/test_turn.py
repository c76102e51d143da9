"""A turn of the workers, over a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from eventzr_kafka.engine.turn import Turn

pytestmark = pytest.mark.virtual_time


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.ends = 0
        self.turn = Turn(lambda: self.now, self._count_end)

    def _count_end(self) -> None:
        self.ends += 1


async def test_turn_ends_in_the_next_iteration_of_the_loop() -> None:
    bench = Bench()
    bench.turn.begin()
    bench.turn.begin()
    assert (bench.turn.is_on, bench.turn.number) == (True, 0)
    await asyncio.sleep(0)
    assert (bench.turn.is_on, bench.turn.number, bench.ends) == (False, 1, 1)


async def test_turn_is_used_up_after_4_ms() -> None:
    bench = Bench()
    bench.turn.begin()
    bench.now += 0.0039
    assert not bench.turn.is_used_up
    bench.now += 0.0002
    assert bench.turn.is_used_up


async def test_worker_ends_if_others_use_the_next_turn_up() -> None:
    bench = Bench()
    bench.turn.begin()
    bench.now += 0.005

    def use_up() -> None:
        bench.turn.begin()
        bench.now += 0.005

    asyncio.get_running_loop().call_soon(use_up)
    assert not await bench.turn.yield_loop()


async def test_worker_goes_on_in_a_turn_that_has_time_left() -> None:
    bench = Bench()
    bench.turn.begin()
    bench.now += 0.005
    asyncio.get_running_loop().call_soon(bench.turn.begin)
    assert await bench.turn.yield_loop()
