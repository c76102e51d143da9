"""The watchdog beside an event loop that is blocked on purpose."""

import asyncio
import threading

import pytest
from tests.unit.manual_time import ManualTime
from tests.waiting import wait_until

from eventzr_kafka.engine.watchdog import Watchdog, codes_of


class Handler:
    async def handle(self, watchdog: Watchdog) -> None:
        look(watchdog)


def look(watchdog: Watchdog) -> None:
    """Block the loop here while the watchdog checks it from another thread."""
    begin, end = threading.Lock(), threading.Lock()
    begin.acquire()
    end.acquire()

    def check() -> None:
        begin.acquire()
        watchdog.check()
        end.release()

    threading.Thread(target=check).start()
    begin.release()  # only now, since Thread.start waits in a frame of its own
    end.acquire()


async def test_blocking_handler_is_named(caplog: pytest.LogCaptureFixture) -> None:
    time, handler = ManualTime(), Handler()
    watchdog = Watchdog(codes_of([("Handler.handle", handler.handle)]), clock=time.clock)
    time.now += 1.1
    await handler.handle(watchdog)
    await handler.handle(watchdog)
    (blocked,) = caplog.messages
    assert blocked.startswith("the event loop has been blocked for 1.1 s by Handler.handle at " + __file__ + ":")


async def test_end_of_a_block_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    time = ManualTime()
    watchdog = Watchdog({}, clock=time.clock)
    time.now += 1.1
    watchdog.check()
    time.now += 3.9
    watchdog.beat()
    watchdog.check()
    assert caplog.messages[1:] == ["the event loop runs again after 5.0 s"]


async def test_other_blocker_names_its_line(caplog: pytest.LogCaptureFixture) -> None:
    time = ManualTime()
    watchdog = Watchdog({}, clock=time.clock)
    time.now += 1.1
    look(watchdog)
    assert f"outside of the handlers, at {__file__}:" in caplog.text


async def test_turning_loop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    time = ManualTime()
    watchdog = Watchdog({}, clock=time.clock)
    for _ in range(10):
        time.now += 0.9
        watchdog.check()
        watchdog.beat()
    assert caplog.text == ""


async def test_started_watchdog_checks_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog({}, limit=0.05)
    watchdog.start()
    wait_until(lambda: "the event loop has been blocked for" in caplog.text)
    await asyncio.to_thread(wait_until, lambda: "the event loop runs again after" in caplog.text)
    watchdog.stop()


def test_watchdog_ends_with_a_loop_that_is_closed() -> None:
    async def leave() -> None:
        Watchdog({}, limit=0.05).start()

    asyncio.run(leave())
    for thread in threading.enumerate():
        if thread.name == "eventzr-kafka watchdog":
            thread.join(timeout=60)
            assert not thread.is_alive()


def test_foreign_frames_are_left_out() -> None:
    assert codes_of([("C.len", len)]) == {}
