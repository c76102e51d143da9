"""The watchdog beside an event loop that is blocked on purpose."""

import asyncio
import threading
import time

import pytest

from eventzr_kafka.engine.watchdog import Watchdog, codes_of


class Handler:
    async def handle(self) -> None:
        time.sleep(0.4)  # noqa: ASYNC251 -- what it is about


async def test_blocking_handler_is_named(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    watchdog = Watchdog(codes_of([("Handler.handle", handler.handle)]), limit=0.1)
    watchdog.start()
    await handler.handle()
    await asyncio.sleep(0.5)
    watchdog.stop()
    blocked, again = (record.getMessage() for record in caplog.records)
    assert f"by Handler.handle at {__file__}:" in blocked
    assert again.startswith("the event loop runs again after 0.")


async def test_other_blocker_names_its_line(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog({}, limit=0.1)
    watchdog.start()
    time.sleep(0.4)  # noqa: ASYNC251 -- what it is about
    watchdog.stop()
    assert f"outside of the handlers, at {__file__}:" in caplog.text


async def test_turning_loop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog({}, limit=0.4)
    watchdog.start()
    await asyncio.sleep(0.6)
    watchdog.stop()
    assert caplog.text == ""


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
