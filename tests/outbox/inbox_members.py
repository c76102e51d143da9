"""Two members with an inbox, as processes that are killed, or frozen until their partitions are somebody else's."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

MEMBER = Path(__file__).with_name("inbox_member.py")
FROZEN = 3.5  # seconds; a session ends after 2
BOOKED = text("SELECT count(DISTINCT event_id) FROM effects")


class InboxMembers:
    """Members of one group; `book` runs them."""

    def __init__(self, engine: AsyncEngine, brokers: str, topic: str, journal: Path) -> None:
        url = engine.url.render_as_string(hide_password=False)
        self._engine = engine
        self._command = [sys.executable, str(MEMBER), url, brokers, topic, f"inbox-{topic}", str(journal)]
        self._journal = journal
        self._running: list[subprocess.Popen[bytes]] = []
        self.ends: Counter[str] = Counter()

    async def prepare(self) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(text("CREATE TABLE effects (event_id text)"))

    async def book(self, events: int, *, ends: int, seconds: float) -> None:
        """Let two members work until every event has its effect; after each share of them, one is killed or frozen.

        Not by the clock: members that need longer to start than the time between two kills would never get on.
        """
        self._start()
        self._start()
        try:
            async with asyncio.timeout(seconds):
                for number in range(1, ends + 1):
                    await self._booked(events * number // (ends + 1))
                    await (self._kill_one() if number % 3 else self._freeze_one())
                await self._booked(events)
        finally:
            self.end()

    async def _booked(self, events: int) -> None:
        async with self._engine.connect() as connection:
            while await connection.scalar(BOOKED) < events:  # noqa: ASYNC110 -- the database knows
                await asyncio.sleep(0.1)

    async def effects(self) -> Counter[str]:
        async with self._engine.connect() as connection:
            return Counter((await connection.scalars(text("SELECT event_id FROM effects"))).all())

    def skipped(self) -> int:
        return len(self._journal.read_text().splitlines())

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait(60)
        self._running.clear()

    def _start(self) -> None:
        self._running.append(subprocess.Popen(self._command))

    async def _kill_one(self) -> None:
        victim = self._running.pop(random.randrange(2))  # noqa: S311
        victim.kill()
        await asyncio.to_thread(victim.wait)
        self.ends["killed"] += 1
        self._start()

    async def _freeze_one(self) -> None:
        victim = random.choice(self._running)  # noqa: S311
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN)
        victim.send_signal(signal.SIGCONT)
        self.ends["frozen"] += 1
