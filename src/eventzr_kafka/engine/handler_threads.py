"""`HandlerThreads`: threads for `def` handlers; a handler that hangs does not keep the process alive.

The interpreter joins the threads of a `ThreadPoolExecutor` at exit, and waits for them for ever. These are daemon
threads: a handler gets the drain time-out, and the event of a handler that takes longer is not committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar

__all__ = ["HandlerThreads"]

T = TypeVar("T")
P = ParamSpec("P")
_Call: TypeAlias = tuple["Future[Any]", Callable[[], Any]]


class HandlerThreads(Executor):
    """As many threads as there are calls at once, up to a limit; further calls wait for one."""

    def __init__(self, limit: int) -> None:
        """Begin without a thread."""
        self._limit = limit
        self._threads = 0
        self._lock = threading.Lock()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a thread. Cancelling the future stops a call that has not begun, and no other."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            try:
                self._add_thread()
            except RuntimeError:  # the system cannot start a thread: the call fails now, and must not begin later
                future.cancel()
                raise
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 -- the signature of Executor
        """End each thread after its running call; returns at once."""
        with suppress(Empty):
            while cancel_futures:
                given = self._calls.get_nowait()
                if given is not None:
                    given[0].cancel()
        for _ in range(self._threads):
            self._calls.put(None)

    def _add_thread(self) -> None:
        with self._lock:
            if self._threads >= self._limit:
                return
            name = f"eventzr-kafka-handler_{self._threads + 1}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._threads += 1

    def _serve(self) -> None:
        while (given := self._next_call()) is not None:
            _run_call(*given)
            del given  # a waiting thread must not keep an event alive

    def _next_call(self) -> _Call | None:
        try:
            return self._calls.get_nowait()
        except Empty:
            self._idle.release()
            return self._calls.get()


def _run_call(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 -- the handler's outcome, judged on the event loop
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        del future, call  # an error's traceback holds this frame
