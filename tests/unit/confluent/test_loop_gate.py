"""`LoopGate`: calls from a client's thread to the event loop."""

from __future__ import annotations

import asyncio
import threading

from eventzr_kafka._confluent.loop_gate import LoopGate


def fail(text: str) -> None:
    raise ValueError(text)


async def test_error_goes_to_its_handler_on_the_loop() -> None:
    errors: list[tuple[Exception, bool]] = []
    here = threading.current_thread()
    gate = LoopGate(
        asyncio.get_running_loop(), lambda error: errors.append((error, threading.current_thread() is here))
    )

    assert await asyncio.to_thread(gate.call, fail, "odd")

    assert [(str(error), on_loop) for error, on_loop in errors] == [("odd", True)]


async def test_waiting_ends_when_the_function_has_returned() -> None:
    calls: list[str] = []
    gate = LoopGate(asyncio.get_running_loop(), lambda _: None)

    assert await asyncio.to_thread(gate.call_and_wait, calls.append, "a", give_up=lambda: False)

    assert calls == ["a"]


async def test_waiting_ends_after_the_handler_of_an_error() -> None:
    handled: list[Exception] = []
    gate = LoopGate(asyncio.get_running_loop(), handled.append)

    def call() -> int:
        gate.call_and_wait(fail, "odd", give_up=lambda: False)
        return len(handled)

    assert await asyncio.to_thread(call) == 1


def test_closed_loop_takes_no_calls() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    gate = LoopGate(loop, lambda _: None)

    assert gate.is_closed
    assert not gate.call(print)
    assert not gate.call_and_wait(print, give_up=lambda: False)
