"""Workers: from the lane whose turn it is to the outcome of its front event.

1. Workers are started when something is ready and every other is inside a handler; one ends when nothing is ready.
   Handlers that never suspend need one worker for a whole backlog, and no task of their own.
2. Handlers share a worker one after another, but no context: one that sets a context variable and leaves it, or a
   request to cancel its task, is the last of its worker. A call that ends in its own request to cancel has failed.
3. A turn begins when the first worker goes on and ends in the next round of the event loop, somewhere between the other
   callbacks: two may lie in one round. A worker that sees one last longer than 4 ms lets the others go on, and ends if
   they use up the next one too. Whoever is inside a handler when a turn ends has been waiting.
4. An error of a handler is an outcome to be decided about (see failures); it never ends a worker. Not an outcome are
   the interrupt of the process, and the end of the worker itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from eventzr_kafka.engine.batches import BatchGatherer, BatchItem, EventBatch, Share, failed_of
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failures import FailureHandler
from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lane, Lanes
from eventzr_kafka.engine.runtime import SYSTEM_RUNTIME, Runtime
from eventzr_kafka.engine.worker import Worker, current_worker
from eventzr_kafka.errors import DecodeError, InvalidDataError
from eventzr_kafka.events.context import enter, enter_batch, leave
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.safe_text import error_location, is_a

__all__ = ["Dispatcher"]

_TURN = 0.004  # seconds that workers may keep the event loop
_CANCELLING = 2.0  # seconds that cancelled handlers may take to end


class Dispatcher:
    """Runs the handlers of one group over its lanes."""

    def __init__(
        self,
        group_id: str,
        options: ConsumerOptions,
        lanes: Lanes[Work],
        failures: FailureHandler,
        *,
        runtime: Runtime = SYSTEM_RUNTIME,
    ) -> None:
        """Prepare; `start` begins."""
        self.batches = BatchGatherer(self._after, self._begin_turn)
        self._group_id = group_id
        self._new_worker = runtime.worker
        self._monotonic = runtime.clock.monotonic
        self._max_concurrency = options.max_concurrency
        self._lanes = lanes
        self._failures = failures
        self._workers_alive: set[Worker] = set()
        self._workers = 0
        self._busy = 0
        self._stopping = False
        self._cancelled = False
        self._turn = 0
        self._turn_ends = 0.0
        self._in_turn = False

    def start(self, on_progress: Callable[[], None]) -> None:
        """Begin, on the running event loop.

        Args:
            on_progress: Called when something has been done; to be quick.
        """
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._on_progress = on_progress

    def stop(self) -> None:
        """Begin nothing new; what runs goes on."""
        self._stopping = True
        self.batches.clear()

    async def end(self) -> None:
        """End what still runs; a handler that does not let itself be cancelled is left behind."""
        if running := self.cancel():
            await asyncio.wait(running, timeout=_CANCELLING)

    def cancel(self) -> set[Worker]:
        """Tell what still runs to end; returns the tasks that are about to."""
        self._cancelled = True
        for worker in self._workers_alive:
            worker.cancel()
        return set(self._workers_alive)

    def spawn(self) -> None:
        """Start workers, if something is ready and none is free: twice as many as there are, up to the limit."""
        if self._workers > self._busy or self._stopping:
            return
        ready = self._lanes.ready + len(self.batches.due)
        for _ in range(min(ready, self._max_concurrency - self._workers, max(self._busy, 1))):
            self._workers += 1
            worker = self._new_worker(self._work(), loop=self._loop, context=self._context.copy())
            self._workers_alive.add(worker)
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        assert isinstance(worker, Worker)  # noqa: S101 -- see spawn
        self._workers_alive.discard(worker)
        error = asyncio.CancelledError() if worker.cancelled() else worker.exception()
        if error is not None and not (worker.cancelled() and (self._cancelled or worker.by_handler)):
            self._failures.stop_group(error)

    def _after(self, seconds: float, do: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(seconds, do).cancel

    async def _work(self) -> None:
        """Every event's way: take the lane whose turn it is, run its front event, note the outcome."""
        lanes, due, failures = self._lanes, self.batches.due, self._failures.states
        clean, worker, monotonic = copy_context(), current_worker(), self._monotonic
        try:
            await self._run_batches()
            while copy_context() == clean and not worker.cancelling() and (lane := lanes.take()) is not None:
                record, origin, event, _ = work = lane.items[0]
                if (due or origin.needs_slow_path) and await self._went_elsewhere(lane, work):
                    continue
                if not self._in_turn:
                    self._begin_turn()
                turn, epoch = self._turn, origin.epoch
                try:
                    if event is None:
                        event = origin.decode(record)
                    token = enter(event)
                    self._busy += 1
                    epoch.running += 1
                    try:
                        call = origin.call
                        await (call(event, MessageContext(record, self._group_id)) if origin.context else call(event))
                    finally:
                        self._busy -= 1
                        epoch.running -= 1
                        leave(token)
                except BaseException as error:
                    if not self._is_outcome(error, worker):
                        raise
                    self._fail(lane, work, event, error)
                else:
                    origin.ledger.finish(record[2])
                    if failures:
                        failures.pop((epoch.number, record[2]), None)
                    lanes.finish(lane)
                if turn == self._turn and monotonic() > self._turn_ends and not await self._give_turn():
                    break
        finally:
            self._workers -= 1
            self._on_progress()
            self.spawn()

    def _fail(self, lane: Lane[Work], work: Work, event: CloudEvent[Any] | None, error: BaseException) -> None:
        if event is None and not is_a(error, DecodeError):
            error = InvalidDataError(work[0], f"data: a validator of the payload class raised {error_location(error)}")
        self._failures.handle(work[1].route, [FailedEvent(lane, work, event)], error)

    def _is_outcome(self, error: BaseException, worker: Worker) -> bool:
        """True if an error is a handler's, and not the end of the worker or of the process."""
        if is_a(error, KeyboardInterrupt) or not worker.is_running:  # not running: it is being closed
            return False
        if is_a(error, asyncio.CancelledError) and worker.cancelling():
            return worker.by_handler and not self._cancelled
        return True

    def _begin_turn(self) -> None:
        """Begin one, unless one is on; when it ends, another worker begins if all of them wait."""
        if not self._in_turn:
            self._in_turn = True
            self._turn_ends = self._monotonic() + _TURN
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """In the next round of the event loop: whatever still runs has been waiting."""
        self._in_turn = False
        self._turn += 1
        self.spawn()
        self._on_progress()

    async def _give_turn(self) -> bool:
        """Let the others go on; whether they have left some of the next turn."""
        self._begin_turn()
        await asyncio.sleep(0)
        return not self._in_turn or self._monotonic() <= self._turn_ends

    # Batches, and lanes that are parked

    async def _went_elsewhere(self, lane: Lane[Work], work: Work) -> bool:
        """A parked lane goes to the dead letters, one for a batch joins it; any other waits while batches are due."""
        origin = work[1]
        self._begin_turn()
        if self._failures.park_front(lane, work):
            pass
        elif origin.in_batches:
            self._lanes.set_aside(lane)
            self.batches.gather(lane, origin.route, alone=self._failures.is_retried_individually(work))
        elif self.batches.due:
            self._lanes.release(lane)
        else:
            return False
        await self._run_batches()
        if self._monotonic() > self._turn_ends:
            await self._give_turn()
        return True

    async def _run_batches(self) -> None:
        clean, worker = copy_context(), current_worker()
        while self.batches.due and copy_context() == clean and not worker.cancelling():
            await self._run_batch(self.batches.due.popleft())

    async def _run_batch(self, batch: EventBatch) -> None:
        """The same for one call of a batch handler: read what each lane gives, run, note the outcomes."""
        shares = batch.shares()
        epochs = {work[1].epoch for share in shares for work in share.work}
        for share in shares:
            share.lane.running = len(share.work)
        for epoch in epochs:
            epoch.running += 1
        try:
            items = [item for share in shares for item in await self._read(share)]
            items = [item for item in items if not item.work[1].epoch.ended]  # while others had their turn
            if items and not self._stopping:
                await self._call_batch(batch.route, items)
            for share in shares:
                if share.is_done:
                    self._lanes.finish_all(share.lane)
        finally:
            for epoch in epochs:
                epoch.running -= 1
        await self._give_turn()

    async def _read(self, share: Share) -> list[BatchItem]:
        """The events of a lane's share, up to one that cannot be read: that is the lane's first the next time."""
        items: list[BatchItem] = []
        for at, work in enumerate(share.work):
            if self._monotonic() > self._turn_ends:
                await self._give_turn()
            record, origin, event, _ = work
            if origin.epoch.ended:  # meanwhile: it goes with the rest of the share
                continue
            try:
                items.append(BatchItem(share, work, event or origin.decode(record)))
            except BaseException as error:
                if not self._is_outcome(error, current_worker()):
                    raise
                share.is_done = at > 0
                if share.is_done:
                    share.lane.running = at
                else:
                    self._fail(share.lane, work, None, error)
                break
        return items

    async def _call_batch(self, route: BoundRoute, items: list[BatchItem]) -> None:
        contexts = ([MessageContext(item.work[0], self._group_id) for item in items],) if route.context else ()
        events, worker = [item.event for item in items], current_worker()
        self._begin_turn()
        token = enter_batch(events)
        self._busy += 1
        try:
            await route.call(events, *contexts)
        except BaseException as error:
            if not self._is_outcome(error, worker):
                raise
            named = failed_of(items, error)
            failed, rest = named or (items, [])
            self._finish(rest)
            self._fail_batch(route, failed, error, dead_letter_each=named is not None or len(items) == 1)
        else:
            self._finish(items)
        finally:
            self._busy -= 1
            leave(token)

    def _finish(self, items: Sequence[BatchItem]) -> None:
        failures = self._failures.states
        for item in items:
            record, origin, _, _ = item.work
            origin.ledger.finish(record[2])
            if failures:
                failures.pop((origin.epoch.number, record[2]), None)

    def _fail_batch(
        self, route: BoundRoute, failed: Sequence[BatchItem], error: BaseException, *, dead_letter_each: bool
    ) -> None:
        """Decide about the first failed event of each lane; what failed behind it in its lane runs again after it."""
        by_share: dict[Share, list[BatchItem]] = {}
        for item in failed:
            if not item.work[1].epoch.ended:
                by_share.setdefault(item.share, []).append(item)
        for share, items in by_share.items():
            share.is_done = False
            self._lanes.keep(share.lane, [item.work for item in items])
            for item in items[1:]:
                self._failures.count(FailedEvent(share.lane, item.work, item.event))
        firsts = [FailedEvent(share.lane, items[0].work, items[0].event) for share, items in by_share.items()]
        self._failures.handle(route, firsts, error, dead_letter_each=dead_letter_each)
