"""The claim that one `eventzr-kafka dlq replay` of a group holds at a time, see replay_claim."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.dead_letters.claim import Claim, find_holder, read_claim, write_claim
from eventzr_kafka.dead_letters.journal import DeadLetterJournal
from eventzr_kafka.dead_letters.letter import dead_letter_topic, parse_whole_number
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.errors import DeliveryError, TransportError
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ClaimTimes", "ReplayClaim"]

_DAY = 86_400.0  # seconds that no clock is wrong by: a claim that old needs no watching
_LOOK = 1.0  # seconds between two looks at another's claim


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """Seconds.

    Attributes:
        lifetime: Of a claim that is not renewed.
        renewal: Between two renewals.
        check: How long a claim that looks older than its lifetime is watched, since clocks may differ.
    """

    lifetime: float = 60.0
    renewal: float = 15.0
    check: float = 30.0


TIMES = ClaimTimes()


class ReplayClaim:
    """This process's claim."""

    def __init__(
        self, settings: KafkaSettings, group_id: str, writer: DeadLetterWriter, say: Callable[[str], None]
    ) -> None:
        """Prepare; `take` writes the claim.

        Args:
            say: Is given a line when another's claim is waited for.
        """
        self._settings = settings
        self._group_id = group_id
        self._writer = writer
        self._say = say
        self._owner = f"{_machine()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._claims: list[Claim] = []
        self._partition = -1
        self._next = 0

    async def take(self, read: Callable[[], DeadLetterJournal], *, waits: bool) -> DeadLetterJournal:
        """Become the holder; returns the journal as it is from then on.

        Args:
            read: Reads the whole topic; called in a thread.
            waits: Whether to wait until another replay has ended.

        Raises:
            UsageError: Another replay holds the claim.
            DeliveryError: The claim could not be written.
        """
        over = None
        while True:
            written = await self._writer.write(write_claim(self._group_id, self._owner, over=over))
            self._partition, self._next = written
            journal = await asyncio.to_thread(read)
            self._claims = journal.claims
            self._next += 1
            holder = find_holder(self._claims, self._partition)
            if holder is None or holder.owner == self._owner:
                return journal
            mine = next((claim.timestamp for claim in self._claims if claim.place == written), holder.timestamp)
            age = max(mine - holder.timestamp, 0) / 1000
            over = holder.place if _is_gone(holder) or age > _DAY else await self._watch(holder, age, waits=waits)

    async def keep(self, on_lost: Callable[[str], None]) -> None:
        """Renew the claim until it is cancelled.

        Args:
            on_lost: Called once, if it cannot be renewed or another replay has taken over.
        """
        while True:
            await asyncio.sleep(TIMES.renewal)
            try:
                async with asyncio.timeout(max(TIMES.lifetime - TIMES.renewal, TIMES.renewal)):
                    await self._writer.write(write_claim(self._group_id, self._owner))
                    holder = await self._holder()
            except (DeliveryError, TransportError, TimeoutError) as error:
                return on_lost(f"the claim of this replay cannot be renewed ({type(error).__qualname__})")
            if holder is None or holder.owner != self._owner:
                return on_lost(f"{_shown(holder)} has taken over the claim of this replay")

    async def release(self) -> None:
        """Give it back, so that another replay need not wait."""
        with suppress(DeliveryError):
            await self._writer.write(write_claim(self._group_id, self._owner, released=True))

    async def _watch(self, holder: Claim, age: float, *, waits: bool) -> tuple[int, int] | None:
        """Wait until the holder releases its claim (None), or has been silent for long enough: its last record."""
        if age <= TIMES.lifetime and not waits:
            raise _held(self._group_id, holder, age)
        patience = TIMES.lifetime if age <= TIMES.lifetime else TIMES.check
        self._say(f"waiting for the replay of {_shown(holder)}, up to {patience:g} s after its last renewal")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while loop.time() < deadline:
            await asyncio.sleep(min(_LOOK, patience))
            found = await self._holder()
            if found is None:
                return None
            if found.place != holder.place:  # it is renewed, or another process was faster
                if not waits:
                    raise _held(self._group_id, found, 0.0)
                holder, deadline = found, loop.time() + TIMES.lifetime
        return holder.place

    async def _holder(self) -> Claim | None:
        await asyncio.to_thread(self._read_on)
        return find_holder(self._claims, self._partition)

    def _read_on(self) -> None:
        reader = ConfluentLogReader(self._settings, self._group_id)
        for records in reader.read(dead_letter_topic(self._group_id), {self._partition: self._next}) or ():
            self._next = max(self._next, records[-1].offset + 1)
            self._claims += [claim for record in records if (claim := read_claim(record)) is not None]


def _machine() -> str:
    """The host, and on Linux the namespace of its process ids: containers may share the name of their host."""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    return f"{socket.gethostname()}/{namespace}"


def _is_gone(holder: Claim) -> bool:
    """Whether the holder was a process of this machine, and is not there any more."""
    machine, _, rest = holder.owner.partition(":")
    number = parse_whole_number(rest.partition(":")[0])
    if machine != _machine() or number is None:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _shown(claim: Claim | None) -> str:
    return "another process" if claim is None else f"process {printable(claim.owner, limit=200)}"


def _held(group_id: str, holder: Claim, age: float) -> UsageError:
    left = max(TIMES.lifetime - age, 0.0)
    return UsageError(
        f"{group_id}: {_shown(holder)} is replaying, last heard of {age:.0f} s ago: wait for its end with --wait; "
        f"if that process is gone, its claim ends in {left:.0f} s"
    )
