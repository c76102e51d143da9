"""`Dispatcher`: runs handlers in workers, from the lane whose turn it is to the outcome of its front event.

1. Workers are started when something is ready and every other worker is inside a handler. A worker ends when nothing is
   ready. Handlers that never suspend need one worker for a whole backlog, and no task of their own.
2. Handlers share a worker one after another, but not a context. A worker ends after a handler that has set a context
   variable and not reset it, or that has requested to cancel its task. A call that ends in the cancellation that it has
   requested itself has failed.
3. Workers keep the event loop for one turn at a time, see `Turn`. A worker that is still inside its handler when the
   turn ends has suspended, and another one may start.
4. A handler's error is an outcome to be decided about (see failures); it never ends a worker. Two errors are not
   outcomes: the interrupt of the process, and the cancellation of the worker itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from eventzr_kafka.codec.selection import FailedPredicate, UnwantedEvent
from eventzr_kafka.engine.batches import BatchGatherer, BatchItem, BatchRun, EventBatch
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.engine.turn import Turn
from eventzr_kafka.engine.worker import Worker, current_worker
from eventzr_kafka.errors import DecodeError, InvalidDataError
from eventzr_kafka.events.context import enter, enter_batch, leave
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.safe_text import error_location, is_a

__all__ = ["Dispatcher"]

_CANCELLING = 2.0  # seconds that cancelled handlers may take to end


class Dispatcher:
    """Runs the handlers of one group over its lanes."""

    def __init__(
        self,
        group_id: str,
        options: ConsumerOptions,
        lanes: Lanes[Work],
        failures: FailureHandler,
        on_progress: Callable[[], None],
        *,
        runtime: Runtime = SYSTEM_RUNTIME,
    ) -> None:
        """Prepare, on the running event loop; `spawn` starts workers.

        Args:
            on_progress: Called after events have got their outcome; must return quickly.
        """
        self._loop = asyncio.get_running_loop()
        self._turn = Turn(runtime.clock.monotonic, self._on_turn_end)
        self.batches = BatchGatherer(self._call_after, self._turn.begin)
        self._group_id = group_id
        self._new_worker = runtime.worker
        self._monotonic = runtime.clock.monotonic
        self._max_concurrency = options.max_concurrency
        self._lanes = lanes
        self._failures = failures
        self._on_progress = on_progress
        self._context = copy_context()
        self._workers_alive: set[Worker] = set()
        self._workers = 0
        self._busy = 0
        self._stopping = False
        self._cancelled = False

    def stop(self) -> None:
        """Start no further handler; those that run go on."""
        self._stopping = True
        self.batches.clear()

    async def end(self) -> None:
        """Cancel the running handlers; one that ignores the cancellation is left behind."""
        if running := self.cancel():
            await asyncio.wait(running, timeout=_CANCELLING)

    def cancel(self) -> set[Worker]:
        """Cancel the workers; returns their tasks, which are about to end."""
        self._cancelled = True
        for worker in self._workers_alive:
            worker.cancel()
        return set(self._workers_alive)

    def spawn(self) -> None:
        """Start workers if something is ready and none is free: as many as are busy, up to the limit."""
        if self._workers > self._busy or self._stopping:
            return
        ready = self._lanes.ready + len(self.batches.due)
        for _ in range(min(ready, self._max_concurrency - self._workers, max(self._busy, 1))):
            self._workers += 1
            worker = self._new_worker(self._work(), loop=self._loop, context=self._context.copy())
            self._workers_alive.add(worker)
            worker.add_done_callback(self._on_worker_end)

    def _on_worker_end(self, worker: asyncio.Task[None]) -> None:
        assert isinstance(worker, Worker)  # noqa: S101 -- see spawn
        self._workers_alive.discard(worker)
        error = asyncio.CancelledError() if worker.cancelled() else worker.exception()
        if error is not None and not (worker.cancelled() and (self._cancelled or worker.by_handler)):
            self._failures.stop_group(error)

    def _on_turn_end(self) -> None:
        self.spawn()
        self._on_progress()

    def _call_after(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(seconds, call).cancel

    # One event at a time

    async def _work(self) -> None:
        """Run events until nothing is ready: take the lane whose turn it is, run its front event, note the outcome.

        This is the hot path: it stays one function without helpers, since each call would cost a record a tenth of a
        microsecond. It counts in place, and reads a record by number, which costs a third less than by name.
        """
        lanes, turn, due, failures = self._lanes, self._turn, self.batches.due, self._failures.states
        clean, worker, monotonic = copy_context(), current_worker(), self._monotonic
        try:
            await self._run_batches()
            # Rule 2: not behind a handler that has left something in the context, or a request to cancel the task.
            while copy_context() == clean and not worker.cancelling() and (lane := lanes.take()) is not None:
                record, batch, event, _ = work = lane.items[0]

                # Parked keys, batch handlers, and batches that are due while other lanes are ready.
                if (due or batch.needs_slow_path) and await self._take_slow_path(lane, work):
                    continue
                if not turn.is_on:
                    turn.begin()
                number, epoch = turn.number, batch.epoch

                # Decode the record and await the handler, inside of the event's tenancy.
                try:
                    if event is None:
                        event = batch.decode(record)
                    token = enter(event)
                    self._busy += 1
                    epoch.running += 1
                    try:
                        call = batch.call
                        await (call(event, MessageContext(record, self._group_id)) if batch.context else call(event))
                    finally:
                        self._busy -= 1
                        epoch.running -= 1
                        leave(token)
                except BaseException as error:
                    if not self._is_outcome(error, worker):
                        raise
                    self._fail(lane, work, event, error)

                # The outcome of a success; record[2] is the offset.
                else:
                    batch.ledger.finish(record[2])
                    if failures:
                        failures.pop((epoch.number, record[2]), None)
                    lanes.finish(lane)

                # A handler that has suspended finds another turn: then this worker has waited, and goes on.
                if number == turn.number and monotonic() > turn.ends_at and not await turn.yield_loop():
                    break
        finally:
            self._workers -= 1
            self._on_progress()
            self.spawn()

    def _fail(self, lane: Lane[Work], work: Work, event: CloudEvent[Any] | None, error: BaseException) -> None:
        record, batch, _, _ = work
        if event is None and type(error) is UnwantedEvent:
            self._failures.skip(batch.route, FailedEvent(lane, work, error.event), error)
            return
        if event is None and type(error) is FailedPredicate:  # an error of the handler
            event, error = error.event, error.cause
        elif event is None and not is_a(error, DecodeError):
            error = InvalidDataError(record, f"data: a validator of the payload class raised {error_location(error)}")
        self._failures.handle(batch.route, [FailedEvent(lane, work, event)], error)

    def _is_outcome(self, error: BaseException, worker: Worker) -> bool:
        """True if an error is a handler's, and not the end of the worker or of the process."""
        if is_a(error, KeyboardInterrupt) or not worker.is_running:  # not running: it is being closed
            return False
        if is_a(error, asyncio.CancelledError) and worker.cancelling():
            return worker.by_handler and not self._cancelled
        return True

    # Batches, and parked keys

    async def _take_slow_path(self, lane: Lane[Work], work: Work) -> bool:
        """Park the front event of a taken lane, or gather the lane for a batch; then run the batches that are due.

        Returns:
            False if nothing of that was to be done, so that the event is run as any other.
        """
        _, batch, _, _ = work
        self._turn.begin()
        if self._failures.park_front(lane, work):
            pass
        elif batch.in_batches:
            self._lanes.set_aside(lane)
            self.batches.gather(lane, batch.route, alone=self._failures.is_retried_individually(work))
        elif self.batches.due:
            self._lanes.release(lane)  # batches that are due come first
        else:
            return False
        await self._run_batches()
        if self._turn.is_used_up:
            await self._turn.yield_loop()
        return True

    async def _run_batches(self) -> None:
        clean, worker = copy_context(), current_worker()
        while self.batches.due and copy_context() == clean and not worker.cancelling():
            await self._run_batch(self.batches.due.popleft())

    async def _run_batch(self, batch: EventBatch) -> None:
        run = BatchRun(batch, self._lanes)
        with run.running():
            await self._read(run)
            run.drop_revoked()
            if run.items and not self._stopping:
                await self._call_batch(run)
            run.finish_shares()
        await self._turn.yield_loop()

    async def _read(self, run: BatchRun) -> None:
        for share, work in run.unread():
            if self._turn.is_used_up:
                await self._turn.yield_loop()
            record, batch, event, _ = work
            if batch.epoch.ended:  # it was revoked meanwhile; the record leaves its lane with the rest of the share
                continue
            try:
                run.items.append(BatchItem(share, work, event or batch.decode(record)))
            except UnwantedEvent as unwanted:
                self._failures.finish_skipped(batch.route, FailedEvent(share.lane, work, unwanted.event))
            except BaseException as error:
                if not self._is_outcome(error, current_worker()):
                    raise
                if run.cut(share):
                    self._fail(share.lane, work, None, error)

    async def _call_batch(self, run: BatchRun) -> None:
        route, items, worker = run.route, run.items, current_worker()
        events = [item.event for item in items]
        records = [record for record, _, _, _ in (item.work for item in items)] if route.context else []
        contexts = ([MessageContext(record, self._group_id) for record in records],) if route.context else ()
        self._turn.begin()
        token = enter_batch(events)
        self._busy += 1
        try:
            await route.call(events, *contexts)
        except BaseException as error:
            if not self._is_outcome(error, worker):
                raise
            failure = run.judge(error)
            self._finish(failure.finished)
            firsts, behind = run.keep_failed(failure.failed)
            for failed in behind:
                self._failures.count(failed)
            self._failures.handle(route, firsts, error, dead_letter_each=failure.dead_letter_each)
        else:
            self._finish(items)
        finally:
            self._busy -= 1
            leave(token)

    def _finish(self, items: Sequence[BatchItem]) -> None:
        failures = self._failures.states
        for item in items:
            record, batch, _, _ = item.work
            batch.ledger.finish(record[2])  # the offset, as in `_work`
            if failures:
                failures.pop((batch.epoch.number, record[2]), None)
