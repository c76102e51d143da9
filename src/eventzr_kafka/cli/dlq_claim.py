"""The claim on the replay of a group, held by one `eventzr-kafka dlq replay` at a time; see `dead_letters.claim`."""

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
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.dead_letters.claim import Claim, find_holder, read_claim, write_claim
from eventzr_kafka.dead_letters.journal import DeadLetterJournal
from eventzr_kafka.dead_letters.letter import dead_letter_topic, parse_whole_number
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.errors import DeliveryError, TransportError
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ClaimTimes", "ReplayClaim"]

_DAY = 86_400.0  # seconds; no clock is wrong by so much, so a claim of this age is not watched
_CHECK_EVERY = 1.0  # seconds between two reads of another process's claim


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """Times of a claim, in seconds.

    Attributes:
        lifetime: Time until a claim ends that is not renewed.
        renewal: Time between two renewals.
        check: Time for which a claim is watched that looks older than its lifetime, because clocks may differ.
    """

    lifetime: float = 60.0
    renewal: float = 15.0
    check: float = 30.0


TIMES = ClaimTimes()


class ReplayClaim:
    """The claim of this process."""

    def __init__(
        self,
        settings: KafkaSettings,
        group_id: str,
        writer: DeadLetterWriter,
        report: Callable[[str], None],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; `take` writes the claim.

        Args:
            report: Called with a line when this process waits for the claim of another one.
        """
        self._settings = settings
        self._group_id = group_id
        self._writer = writer
        self._report = report
        self._clock = clock
        self._owner = f"{_machine()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._claims: list[Claim] = []
        self._partition = -1
        self._next = 0

    async def take(self, read: Callable[[], DeadLetterJournal], *, waits: bool) -> DeadLetterJournal:
        """Become the holder; returns the journal as it is from then on.

        Args:
            read: Reads the whole topic; called in a thread.
            waits: Wait for the end of another replay; else it is an error.

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
            await self._clock.sleep(TIMES.renewal)
            try:
                async with asyncio.timeout(max(TIMES.lifetime - TIMES.renewal, TIMES.renewal)):
                    await self._writer.write(write_claim(self._group_id, self._owner))
                    holder = await self._holder()
            except (DeliveryError, TransportError, TimeoutError) as error:
                return on_lost(f"the claim of this replay cannot be renewed ({type(error).__qualname__})")
            if holder is None or holder.owner != self._owner:
                return on_lost(f"{_name_of(holder)} has taken over the claim of this replay")

    async def release(self) -> None:
        """Release the claim, so that another replay need not wait."""
        with suppress(DeliveryError):
            await self._writer.write(write_claim(self._group_id, self._owner, released=True))

    async def _watch(self, holder: Claim, age: float, *, waits: bool) -> tuple[int, int] | None:
        """Wait until the holder releases its claim; returns None then, or its last record once its lifetime is over."""
        if age <= TIMES.lifetime and not waits:
            raise _refusal(self._group_id, holder, age)
        patience = TIMES.lifetime if age <= TIMES.lifetime else TIMES.check
        self._report(f"waiting for the replay of {_name_of(holder)}, up to {patience:g} s after its last renewal")
        deadline = self._clock.monotonic() + patience
        while self._clock.monotonic() < deadline:
            await self._clock.sleep(min(_CHECK_EVERY, patience))
            found = await self._holder()
            if found is None:
                return None
            if found.place != holder.place:  # renewed, or another process was faster
                if not waits:
                    raise _refusal(self._group_id, found, 0.0)
                holder, deadline = found, self._clock.monotonic() + TIMES.lifetime
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
    """The host, and on Linux the namespace of its process ids, because containers may share one host name."""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    return f"{socket.gethostname()}/{namespace}"


def _is_gone(holder: Claim) -> bool:
    """True if the holder was a process of this machine that has ended."""
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


def _name_of(claim: Claim | None) -> str:
    return "another process" if claim is None else f"process {printable(claim.owner, limit=200)}"


def _refusal(group_id: str, holder: Claim, age: float) -> UsageError:
    left = max(TIMES.lifetime - age, 0.0)
    return UsageError(
        f"{group_id}: {_name_of(holder)} replays this group, and renewed its claim {age:.0f} s ago: "
        f"wait for its end with --wait; if that process has died, its claim ends in {left:.0f} s"
    )
