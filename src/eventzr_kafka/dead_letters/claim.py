"""Who may replay: a claim in the dead-letter topic, which one replay of a group holds at a time.

Kafka compares and sets nothing, but a partition has one order, and every claim has one key, so one partition:

1. The first claim while there is no holder makes its owner the holder. Later claims change nothing until the holder
   releases it; its own are renewals.
2. A claim may name the holder's last record, to take over from a holder that is gone. It counts only if the holder has
   written nothing since.
3. Each claimant reads the partition back and goes through it by these rules: all come to one result, whatever their
   clocks say. Whether a holder is gone is decided by silence, on the reader's own clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from eventzr_kafka.dead_letters.letter import added_headers, dead_letter_topic, read_added, whole_number
from eventzr_kafka.dead_letters.state import Place
from eventzr_kafka.kafka.record import OutgoingRecord, Record

__all__ = ["Claim", "holder_of", "read_claim", "write_claim"]

_KEY: Final = b"eventzr-dlq-claim"
_KINDS: Final = {"claim": False, "release": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One record of a claimant.

    Attributes:
        owner: ``host:pid:random``.
        place: Partition and offset.
        over: Where the last record was of a holder that is taken for gone.
        timestamp: Of the record, in milliseconds.
        released: Whether it gives the claim back.
    """

    owner: str
    place: Place
    over: Place | None = None
    timestamp: int = -1
    released: bool = False


def write_claim(group_id: str, owner: str, *, over: Place | None = None, released: bool = False) -> OutgoingRecord:
    """A claim, its renewal, or its release."""
    fields = {
        "note": "release" if released else "claim",
        "owner": owner,
        "over": "" if over is None else f"{over[0]}@{over[1]}",
    }
    return OutgoingRecord(dead_letter_topic(group_id), _KEY, None, list(added_headers(fields)))


def read_claim(record: Record) -> Claim | None:
    """Read a claim; None for anything else."""
    if record.key != _KEY or record.value is not None:
        return None
    found = read_added(record)
    released = _KINDS.get(found.get("note", ""))
    if released is None or "owner" not in found:
        return None
    partition, offset = map(whole_number, found.get("over", "").partition("@")[::2])
    return Claim(
        owner=found["owner"],
        place=(record.partition, record.offset),
        over=None if partition is None or offset is None else (partition, offset),
        timestamp=record.timestamp,
        released=released,
    )


def holder_of(claims: Iterable[Claim], partition: int) -> Claim | None:
    """The last record of the holder, as of these claims; None if there is no holder."""
    holder: Claim | None = None
    for claim in sorted((claim for claim in claims if claim.place[0] == partition), key=lambda claim: claim.place):
        if claim.released:
            holder = None if holder is not None and holder.owner == claim.owner else holder
        elif holder is None or holder.owner == claim.owner or claim.over == holder.place:
            holder = claim
    return holder
