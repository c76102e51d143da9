"""An event loop whose clock does not wait: when nothing is ready, it jumps to the next timer.

1. Minutes of back-off run in milliseconds, and the same program with the same seed takes the same steps.
2. A seed lets every timer fire up to a millisecond late, so that what is due at about the same time changes places.
3. What is handed to a thread runs while the loop stands still, so that it cannot run at another time the next time.
   In that thread `VirtualTimeLoop.sleep` lets virtual time pass. A thread that waits for the loop in another way gets
   its will after a second of real time, without a promise about the order of events.
4. When nothing is ready and no timer is set, nothing will ever happen: that is an error, not a hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

__all__ = ["VirtualTimeLoop", "in_virtual_time", "run_virtual", "virtual_loop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = ParamSpec("P")

_JITTER = 0.001  # seconds
_TICK = 1e-9  # seconds that setting a timer takes, so that timers for the same time keep their order
_PATIENCE = 1.0  # real seconds that the loop stands still for a thread
_LOOK = 0.01  # real seconds before each jump beside a thread that took longer
_here = threading.local()


def run_virtual(
    main: Coroutine[Any, Any, T], *, seed: int | random.Random | None = None, timeout: float | None = 86_400.0
) -> T:
    """Run a coroutine on a `VirtualTimeLoop`, as ``asyncio.run`` does on a real one.

    Args:
        seed: Chooses the order of timers that are due at about the same time; left out, they keep theirs.
        timeout: Virtual seconds that it may take; None for no limit.

    Raises:
        TimeoutError: It took longer.
    """

    async def limited() -> T:
        async with asyncio.timeout(timeout):
            return await main

    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, seed)) as runner:
        return runner.run(limited())


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an ``async def`` test a plain function that runs on a virtual clock, so that waiting takes no time.

    It needs no plugin, and minds none: pytest-asyncio and anyio see a ``def``. Fixtures that live on their loops do not
    fit; real sockets work, but their time-outs are virtual, too.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run


def virtual_loop() -> VirtualTimeLoop | None:
    """The virtual loop that this code runs on, or that has handed it to a thread."""
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if isinstance(loop, VirtualTimeLoop):
        return loop
    job: _Job | None = getattr(_here, "job", None)
    return job.loop if job is not None else None


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0 s; see the module's rules.

    Attributes:
        unruly: Threads that took longer than the loop stood still.
    """

    def __init__(self, seed: int | random.Random | None = None) -> None:
        """Take the seed; None leaves timers where they are."""
        self._now = 0.0
        self.unruly = 0
        self._random = random.Random(seed) if isinstance(seed, int) else seed  # noqa: S311 -- to be repeated
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds that have passed, but for nanoseconds by jumps alone."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer, a little late if there is a seed."""
        self._now += _TICK
        late = self._random.random() * _JITTER if self._random is not None else 0.0
        return super().call_at(when + late, callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:  # noqa: ARG002 -- each gets a thread of its own
        """Run a function in a thread while the loop stands still."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_Job(self, partial(func, *args), future).resume)
        return future

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass in a function that `run_in_executor` runs.

        Raises:
            RuntimeError: Called on the loop itself, where it would never end.
        """
        job: _Job | None = getattr(_here, "job", None)
        if job is None:
            raise RuntimeError("this blocks the event loop, whose clock is virtual: call it with asyncio.to_thread")
        job.sleep(seconds)

    def advance(self, seconds: float | None) -> None:
        """Jump; called when nothing is ready.

        Raises:
            RuntimeError: There is no timer to jump to.
        """
        if seconds is None:
            raise RuntimeError("nothing can happen any more: every task waits, and no timer is set")
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """In place of waiting, the clock jumps."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        wakeable = self._loop.unruly > 0 or len(self.get_map()) > 1  # by a thread or a socket
        if timeout is None and wakeable:
            return super().select(None)
        events = super().select(_LOOK if wakeable and timeout != 0 else 0)
        if events or timeout == 0:
            return events
        self._loop.advance(timeout)
        return []


class _Job:
    """A function in a thread that takes turns with its loop."""

    def __init__(self, loop: VirtualTimeLoop, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.loop = loop
        self._call = call
        self._future = future
        self._own_turn = threading.Semaphore(0)
        self._loops_turn = threading.Semaphore(0)
        self._started = False
        self._unruly = False

    def resume(self) -> None:
        """Let the thread run until it is done or sleeps; on the loop."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="eventzr-kafka virtual time", daemon=True).start()
        else:
            self._own_turn.release()
        if not self._loops_turn.acquire(timeout=_PATIENCE):
            self._unruly = True
            self.loop.unruly += 1

    def sleep(self, seconds: float) -> None:
        """Let the loop run meanwhile; in the thread."""
        self.loop.call_soon_threadsafe(self._wake_later, seconds)
        self._loops_turn.release()
        self._own_turn.acquire()

    def _run(self) -> None:
        _here.job = self
        result, error = None, None
        try:
            result = self._call()
        except BaseException as raised:  # noqa: BLE001 -- raised where the future is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._finish, result, error)
        self._loops_turn.release()

    def _wake_later(self, seconds: float) -> None:
        self._back_in_turn()
        self.loop.call_later(seconds, self.resume)

    def _back_in_turn(self) -> None:
        if self._unruly:
            self._unruly = False
            self.loop.unruly -= 1
            self._loops_turn.acquire()

    def _finish(self, result: Any, error: BaseException | None) -> None:
        self._back_in_turn()
        if self._future.cancelled():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
