"""Dead letters in flight, each the outcome of the event at the front of a waiting lane.

1. A dead letter is an outcome once the broker has acknowledged it. Until then its lane waits, and the write is tried
   again, for as long as it takes and the partition is assigned here.
2. A dead letter that cannot be written is a problem of the group. The log has one line when the first such problem
   begins, and one when the last has ended.
3. With a `Redelivery` a write is tried once: the event is redelivered if it fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from eventzr_kafka.dead_letters.letter import DeadLetterFacts
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.engine.failure_host import FailureHost, LeaveToRedelivery
from eventzr_kafka.engine.failure_states import FailureKey, FailureStates
from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lanes
from eventzr_kafka.errors import DeliveryError, EventzrKafkaError
from eventzr_kafka.handlers.retry import DeadLetter
from eventzr_kafka.kafka.transport import Acknowledgement
from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.lifecycle.state_log import StateLog
from eventzr_kafka.safe_text import error_location

__all__ = ["DeadLetterWrites"]

log = logging.getLogger("eventzr_kafka.consumer")

_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between two tries to write a dead letter
_PATIENCE = 8.0  # seconds without an answer that make a problem; a missing topic is reported after 5
_MAX_TASKS = 200  # dead letters that are written at once


class DeadLetterWrites:
    """The dead letters of one group that are being written."""

    def __init__(self, host: FailureHost, lanes: Lanes[Work], states: FailureStates) -> None:
        """Begin without a dead letter.

        Args:
            states: An event is forgotten there once its dead letter is acknowledged.
        """
        self._host = host
        self._lanes = lanes
        self._states = states
        self._queue: deque[tuple[FailedEvent, DeadLetterFacts]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._problems: dict[FailureKey, str] = {}
        self._log = StateLog(log, recovery_level=logging.INFO, clock=host.clock)

    def begin(self, failed: FailedEvent, facts: DeadLetterFacts) -> None:
        """Write the dead letter of an event whose lane waits."""
        failed.epoch.begin_running()
        self._queue.append((failed, facts))
        if len(self._tasks) < _MAX_TASKS:
            task = asyncio.get_running_loop().create_task(self._write_queued())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self, patience: float = 0.0) -> bool:
        """Give up the dead letters that are not acknowledged: their events are redelivered.

        Args:
            patience: Seconds that writes in flight may take.

        Returns:
            True if a write was given up.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        given_up = [task for task in self._tasks if not task.done()]
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        return bool(given_up)

    @property
    def problem(self) -> str | None:
        """The reason why lanes wait for their dead letters; None if all writes succeed."""
        found = next(iter(self._problems.values()), None)
        return None if found is None else f"{self._host.group_id}: dead letters cannot be written: {found}"

    async def _write_queued(self) -> None:
        while self._queue:
            failed, facts = self._queue.popleft()
            try:
                acknowledgement = await self._write_until_acknowledged(failed, facts)
                if acknowledgement is not None:
                    self._settle(failed, facts, acknowledgement)
            except Exception as error:  # noqa: BLE001 -- such as a client that cannot be made
                self._on_error(failed, facts, error)
            finally:
                failed.epoch.end_running()
                if self._host.redelivery is None:
                    self._problems.pop(failed.key, None)

    async def _write_until_acknowledged(self, failed: FailedEvent, facts: DeadLetterFacts) -> Acknowledgement | None:
        """Try to write until the broker acknowledges; None if the lane does not wait for this event any more."""
        lane, work, pause = failed.lane, failed.work, _PAUSE
        call_later = asyncio.get_running_loop().call_later

        def is_wanted() -> bool:
            return lane.waiting and lane.front is work

        while is_wanted():
            late = call_later(_PATIENCE, self._report_problem, failed.key, f"no answer for {_PATIENCE:g} s")
            try:
                return await self._host.writer.write_letter(failed.record, facts, is_wanted)
            except DeliveryError as error:
                if self._host.redelivery is not None:
                    raise
                if not is_wanted():
                    return None
                self._report_problem(failed.key, str(error))
            finally:
                late.cancel()
            with failed.epoch.not_running():  # a revocation need not wait for a pause
                await self._host.clock.sleep(pause)
            pause = exponential_pause(1, first=pause, longest=_LONGEST_PAUSE)
        return None

    def _settle(self, failed: FailedEvent, facts: DeadLetterFacts, written: Acknowledgement) -> None:
        failed.batch.ledger.finish(failed.record.offset)
        if self._host.parked_keys is not None:
            self._host.parked_keys.park(failed.record, facts, (written.partition, written.offset))
        self._problems.pop(failed.key, None)
        if not self._problems:
            self._log.report_success("%s: dead letters can be written again", self._host.group_id)
        self._lanes.settle(failed.lane, failed.work)
        self._states.forget(failed.key)
        self._host.on_ready()

    def _on_error(self, failed: FailedEvent, facts: DeadLetterFacts, error: Exception) -> None:
        if self._host.redelivery is None:
            self._host.on_stop(error)
            return
        problem = str(error) if isinstance(error, EventzrKafkaError) else error_location(error)
        self._report_problem(failed.key, problem)
        left = LeaveToRedelivery(DeadLetter(facts.reason), problem, "its event is redelivered")
        self._host.redelivery.take_over(failed, left)

    def _report_problem(self, key: FailureKey, problem: str) -> None:
        next_step = "their ordering keys wait" if self._host.redelivery is None else "their events are redelivered"
        text = "%s: dead letters cannot be written, %s: %s"
        self._log.report_failure("refused", text, self._host.group_id, next_step, problem)
        self._problems[key] = problem
