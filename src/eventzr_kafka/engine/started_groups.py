"""`StartedGroups`: the groups of a runner from its start to its end, and the resources that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.group_consumer import GroupConsumer
from eventzr_kafka.engine.runtime import LoopMonitor
from eventzr_kafka.events.context import begin_handling, end_handling
from eventzr_kafka.handlers.deduplication import InboxCleaner

__all__ = ["StartedGroups"]


class StartedGroups:
    """Made, joined and left on one event loop.

    Attributes:
        joined: The groups that have begun to join, and so have to leave.
        stopped: Set when the groups begin to leave.
    """

    def __init__(
        self,
        groups: Sequence[GroupConsumer],
        *,
        pool: Executor,
        dead_letters: DeadLetterWriter,
        inbox_cleaner: InboxCleaner,
        watchdog: LoopMonitor,
    ) -> None:
        """Take what is ended with the groups.

        Args:
            pool: Threads of ``def`` handlers.
        """
        self.joined: list[GroupConsumer] = []
        self.stopped = asyncio.Event()
        self._groups = groups
        self._pool = pool
        self._dead_letters = dead_letters
        self._inbox_cleaner = inbox_cleaner
        self._watchdog = watchdog
        self._ending: asyncio.Task[None] | None = None
        self._handling: int | None = None  # what `end_handling` takes

    def join(self) -> None:
        """Join all groups; after an error, `stop` leaves those that are joined."""
        self._watchdog.start()
        self._handling = begin_handling()
        for group in self._groups:
            group.start()
            self.joined.append(group)

    def stop(self) -> None:
        """Begin to leave the groups, once."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
            self.stopped.set()

    async def end(self) -> None:
        """Wait until all groups are left.

        A caller that is cancelled does not keep them from leaving.
        """
        await self.stopped.wait()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        """Leave the groups, whatever fails on the way; every step is bounded in time."""
        ends = await asyncio.gather(*(group.stop() for group in self.joined), return_exceptions=True)
        try:
            await self._dead_letters.close()
            await self._inbox_cleaner.stop()
        finally:
            self._watchdog.stop()
            if self._handling is not None:
                end_handling(self._handling)
            self._pool.shutdown()
        for fault in ends:
            if fault is not None:
                raise fault
