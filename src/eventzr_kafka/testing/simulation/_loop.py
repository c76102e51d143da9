"""The event loop of a simulation: one thread, several processes, and chance decides whose turn it is.

1. A callback belongs to the process that scheduled it, by its context. Within a process the order is asyncio's; between
   processes it is chance.
2. A crash ends a process between two steps: nothing of it runs any more, not even a ``finally``.
3. What would run in a thread runs in a step of its own.
4. One loop serves many histories; `begin` forgets everything of the last one. Garbage is collected between them alone:
   finalizers must not run at any time.
"""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, Self, TypeVar, TypeVarTuple

from eventzr_kafka.engine.worker import Worker
from eventzr_kafka.testing.virtual_time import VirtualTimeLoop

__all__ = ["Process", "SimulationLoop", "StuckError", "current_process"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MOST_STEPS = 100_000
_COLLECT_EVERY = 200  # histories
_JITTER = 0.001  # seconds
_TICK = 1e-9


class StuckError(Exception):
    """The processes go on and on, or nothing can happen any more."""


class Process:
    """One process, which a crash ends at once.

    Attributes:
        steps: The number of steps that it has made.
        crash_at: The step after which it crashes.
    """

    def __init__(self, loop: SimulationLoop, name: str) -> None:
        self.name = name
        self.dead = False
        self.steps = 0
        self.crash_at = -1
        self.on_crash: Callable[[], None] = _nothing
        self.on_failure: Callable[[Exception], None] = _nothing
        self.ready: deque[_Step] = deque()
        self._loop = loop
        self.context = Context()
        self.context.run(_process.set, self)

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have it make a call in one of its next steps."""
        if not self.dead:
            self._loop.call_soon(call, *args, context=self.context)

    def enter(self, call: Callable[..., T], *args: Any) -> T:
        """Make a call as this process, at once."""
        return self.context.copy().run(call, *args)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have it run a task."""
        return self._loop.create_task(work, context=self.context.copy())

    def end(self) -> None:
        """Let it do nothing any more."""
        self.dead = True
        self.ready.clear()


_process: ContextVar[Process] = ContextVar("eventzr_kafka.simulation.process")


def current_process() -> Process:
    """The process that this code belongs to."""
    return _process.get()


class _Step:
    """A call that is due, as an `asyncio.TimerHandle`, without what debugging costs."""

    __slots__ = ("args", "call", "context", "due", "is_cancelled", "process")

    def __init__(
        self, due: float, call: Callable[..., object], args: Sequence[object], context: Context, process: Process
    ) -> None:
        self.due = due
        self.call = call
        self.args = args
        self.context = context
        self.process = process
        self.is_cancelled = False

    def cancel(self) -> None:
        """Let it be passed over."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """True if it is passed over."""
        return self.is_cancelled

    def when(self) -> float:
        """Return the time at which it is due."""
        return self.due


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address.

    It is kept until the history ends: a crashed one must not run when it is collected.
    """

    created = 0

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        task = super().__new__(cls)
        cls.created += 1
        task.number = cls.created
        return task

    number: int

    def __init__(self, *args: Any, loop: SimulationLoop, **options: Any) -> None:
        super().__init__(*args, loop=loop, **options)
        loop.tasks.append(self)

    def put_away(self) -> None:
        """Close its coroutine, and ignore its errors."""
        setattr(self, "_log_destroy_pending", False)  # noqa: B010 -- asyncio's own switch
        coroutine: Any = self.get_coro()
        with suppress(Exception):
            coroutine.close()

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedWorker(_Task, Worker):
    """A task of the engine's own class."""


class SimulationLoop(VirtualTimeLoop):
    """See the module's rules.

    Attributes:
        steps: Made in this history.
        tasks: Of this history.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._histories = 0
        self.begin(random.Random(0))  # noqa: S311 -- to be repeated

    def begin(self, chance: random.Random) -> None:
        """Start a history at 0 s."""
        self._histories += 1
        if self._histories % _COLLECT_EVERY == 0:
            self._collect()
        _Task.created = 0
        self.steps = 0
        self._now = 0.0
        self._chance = chance.random
        self._driver = Process(self, "driver")
        self.tasks: list[_Task] = []
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, _Step]] = []
        self._numbers = count()

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Any:
        """Queue a step of the process whose context it is."""
        if context is None:
            context = copy_context()
        step = _Step(self._now, callback, args, context, context.get(_process, self._driver))
        self._queue(step)
        return step

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        """Set a timer as `call_at` does."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        """Set a timer of the process whose context it is, a little late."""
        self._now += _TICK
        if context is None:
            context = copy_context()
        due = max(when, self._now) + self._chance() * _JITTER
        step = _Step(due, callback, args, context, context.get(_process, self._driver))
        heappush(self._timers, (due, next(self._numbers), step))
        return step

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:  # noqa: ARG002 -- there are no threads
        """Make a call in a step of its own."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_settle, future, func, args)
        return future

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Make a task, see `_Task`."""
        return _Task(coro, loop=self, name=str(name or ""), context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log nothing: crashed processes leave tasks behind."""

    def end(self) -> None:
        """Put away what crashed processes have left."""
        for _, _, step in self._timers:
            step.process.end()
        self._timers.clear()
        for process in self._runnable:
            process.end()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a crashed process would still have done
            while self.tasks:
                task = self.tasks.pop(0)
                asyncio._unregister_task(task)  # noqa: SLF001 -- the next history's tasks have the same hashes
                if not task.done():
                    task.put_away()

    def _collect(self) -> None:
        """Collect garbage between two histories, and put its warnings away."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
            self.end()

    def close(self) -> None:
        """Close it, with what was still made while the last history was put away."""
        self._collect()
        super().close()

    def _queue(self, step: _Step) -> None:
        process = step.process
        if process.dead:
            return
        if not process.ready:
            self._runnable.append(process)
        process.ready.append(step)

    def _run_once(self) -> None:
        runnable, chance = self._runnable, self._chance
        while not self._stopping:  # type: ignore[attr-defined]
            if not runnable:
                self._jump()
                continue
            at = int(chance() * len(runnable)) if len(runnable) > 1 else 0
            process = runnable[at]
            ready = process.ready
            if ready:
                step = ready.popleft()
                if not step.is_cancelled:
                    self._make(step)
                    self._stepped(process)
            if not ready:
                runnable[at] = runnable[-1]
                runnable.pop()

    def _make(self, step: _Step) -> None:
        try:
            step.context.run(step.call, *step.args)
        except Exception as error:  # noqa: BLE001 -- as asyncio does
            step.process.on_failure(error)

    def _stepped(self, process: Process) -> None:
        self.steps += 1
        process.steps += 1
        if process.steps == process.crash_at:
            process.on_crash()
        if self.steps > _MOST_STEPS:
            raise StuckError(f"{_MOST_STEPS} steps, and no end")

    def _jump(self) -> None:
        """Go to the next timer, and take all that are due."""
        timers = self._timers
        if not timers:
            raise StuckError("nothing can happen any more: every task waits, and no timer is set")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, step = heappop(timers)
            if not step.is_cancelled:
                self._queue(step)


def _settle(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:  # noqa: BLE001 -- raised where the future is awaited
        future.set_exception(error)


def _nothing(*_about: object) -> None:
    """Do nothing."""
