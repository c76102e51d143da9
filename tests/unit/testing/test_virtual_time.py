"""A clock that jumps in place of waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from eventzr_kafka.testing import VirtualTimeLoop, run_virtual
from eventzr_kafka.testing.virtual_time import virtual_loop


def test_hours_pass_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3 * 3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(3 * 3600)


def test_seed_reorders_timers() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_later(1, order.append, number)
        await asyncio.sleep(2)
        return order

    assert run_virtual(main()) == list(range(20))
    assert run_virtual(main(), seed=1) == run_virtual(main(), seed=1) != run_virtual(main(), seed=2)


def test_loop_stands_still_for_a_thread() -> None:
    async def main() -> list[object]:
        loop, seen = asyncio.get_running_loop(), list[object]()
        assert isinstance(loop, VirtualTimeLoop)
        loop.call_later(5, seen.append, "timer")

        def work() -> str:
            seen.append(("thread", threading.current_thread() is not threading.main_thread()))
            assert virtual_loop() is loop
            loop.sleep(10)
            seen.append(round(loop.time(), 6))
            return "result"

        seen.append(await asyncio.to_thread(work))
        return seen

    assert run_virtual(main()) == [("thread", True), "timer", 10.0, "result"]


def test_thread_raises_where_awaited() -> None:
    def work() -> None:
        raise ValueError("no")

    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(work)

    run_virtual(main())


def test_waiting_thread_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventzr_kafka.testing.virtual_time._PATIENCE", 0.05)

    async def main() -> bool:
        event = threading.Event()
        asyncio.get_running_loop().call_later(1, event.set)
        return await asyncio.to_thread(event.wait, 10)

    assert run_virtual(main())


def test_blocking_the_loop_is_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            loop.sleep(1)

    run_virtual(main())


def test_impossible_wait_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer is set"):
        run_virtual(main(), timeout=None)


def test_slow_run_times_out() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 -- nothing to wait for
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        run_virtual(main(), timeout=3600)
