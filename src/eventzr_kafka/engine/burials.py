"""Dead letters on their way to the broker, each the outcome of the event at the front of a waiting lane.

1. A dead letter is an outcome once the broker has acknowledged it. Until then its lane waits, for as long as it takes
   and the partition is ours.
2. What cannot be written is a problem, with one line when it begins and one when it is over.
3. With a `Redelivery` nothing is tried again here: the event comes again by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.letter import DeadLetterFacts
from eventzr_kafka.dead_letters.parked_keys import ParkedKeys
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.failed_event import Failed, HistoryKey, history_key
from eventzr_kafka.engine.intake import Work
from eventzr_kafka.engine.lanes import Lanes
from eventzr_kafka.engine.redelivery import Leave, Redelivery
from eventzr_kafka.errors import DeliveryError, EventzrKafkaError
from eventzr_kafka.handlers.retry import DeadLetter
from eventzr_kafka.safe_text import error_location

__all__ = ["Burials"]

log = logging.getLogger("eventzr_kafka.consumer")

_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between two tries to write a dead letter
_PATIENCE = 8.0  # seconds without an answer, after which that is a problem; a missing topic is one after 5
_BURIERS = 200  # dead letters that are being written at once


class Burials:
    """The dead letters of one group that are being written."""

    def __init__(
        self,
        group_id: str,
        lanes: Lanes[Work],
        writer: DeadLetterWriter,
        parking: ParkedKeys | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Begin without any.

        Args:
            writer: Shared by the groups of a runner.
            parking: Set if a dead letter parks its lane.
        """
        self._group_id = group_id
        self._lanes = lanes
        self._writer = writer
        self._clock = clock
        self._parking = parking
        self._waiting: deque[tuple[Failed, DeadLetterFacts]] = deque()
        self._buriers: set[asyncio.Task[None]] = set()
        self._troubles: dict[HistoryKey, str] = {}

    def start(
        self, on_buried: Callable[[Work], None], on_stop: Callable[[Exception], None], redelivery: Redelivery | None
    ) -> None:
        """Take what is called when the broker has a letter, and when the group must not go on; the loop runs by now."""
        self._loop = asyncio.get_running_loop()
        self._on_buried = on_buried
        self._on_stop = on_stop
        self._redelivery = redelivery

    def begin(self, each: Failed, facts: DeadLetterFacts) -> None:
        """Write the dead letter of an event whose lane waits."""
        each.work[1].epoch.running += 1
        self._waiting.append((each, facts))
        if len(self._buriers) < _BURIERS:
            task = self._loop.create_task(self._bury_all())
            self._buriers.add(task)
            task.add_done_callback(self._buriers.discard)

    async def stop(self, patience: float = 0.0) -> bool:
        """Give up the dead letters that are not written: their events come again.

        Args:
            patience: Seconds that those under way may take.

        Returns:
            Whether any was given up.
        """
        if self._buriers:
            await asyncio.wait(self._buriers, timeout=patience)
        given_up = [burier for burier in self._buriers if not burier.done()]
        for burier in given_up:
            burier.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        return bool(given_up)

    @property
    def problem(self) -> str | None:
        """Why lanes wait for their dead letters, or None."""
        found = next(iter(self._troubles.values()), None)
        return None if found is None else f"{self._group_id}: dead letters cannot be written: {found}"

    async def _bury_all(self) -> None:
        while self._waiting:
            each, facts = self._waiting.popleft()
            try:
                await self._bury(each, facts)
            except Exception as error:  # noqa: BLE001 -- such as a client that cannot be made
                self._cannot_bury(each, facts, error)
            finally:
                each.work[1].epoch.running -= 1
                if self._redelivery is None:
                    self._troubles.pop(history_key(each.work), None)

    def _cannot_bury(self, each: Failed, facts: DeadLetterFacts, error: Exception) -> None:
        if self._redelivery is None:
            self._on_stop(error)
            return
        problem = str(error) if isinstance(error, EventzrKafkaError) else error_location(error)
        self._trouble(history_key(each.work), problem)
        self._redelivery.leave(each, Leave(DeadLetter(facts.reason), problem, "its event comes again"))

    async def _bury(self, each: Failed, facts: DeadLetterFacts) -> None:
        """Write a dead letter, for as long as it takes and the partition is ours."""
        lane, work, pause = each.lane, each.work, _PAUSE
        record, origin, _, _ = work

        def is_wanted() -> bool:
            return lane.waiting and lane.front is work

        while is_wanted():
            late = self._loop.call_later(_PATIENCE, self._trouble, history_key(work), f"no answer for {_PATIENCE:g} s")
            try:
                written = await self._writer.write_letter(record, facts, is_wanted)
            except DeliveryError as error:
                if self._redelivery is not None:
                    raise
                if not is_wanted():
                    return
                self._trouble(history_key(work), str(error))
                origin.epoch.running -= 1  # a hand-over need not wait for a pause
                try:
                    await self._clock.sleep(pause)
                finally:  # it is counted down once more at the end, also of a task that is cancelled here
                    origin.epoch.running += 1
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            finally:
                late.cancel()
            origin.ledger.finish(record.offset)
            if self._parking is not None:
                self._parking.park(record, facts, (written.partition, written.offset))
            self._relieve(history_key(work))
            self._lanes.settle(lane, work)
            self._on_buried(work)
            return

    def _trouble(self, key: HistoryKey, what: str) -> None:
        if not self._troubles:
            then = "their lanes wait" if self._redelivery is None else "their events come again"
            log.error("%s: dead letters cannot be written, %s: %s", self._group_id, then, what)
        self._troubles[key] = what

    def _relieve(self, key: HistoryKey) -> None:
        if self._troubles.pop(key, None) is not None and not self._troubles:
            log.info("%s: dead letters can be written again", self._group_id)
