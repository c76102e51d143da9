"""The claim of a replay: a record in the dead-letter topic that one process of a group holds at a time.

Kafka has no compare-and-set, but a partition has one order, and all claims have one key, so one partition:

1. A claim makes its owner the holder if there is not one yet. Other claims change nothing until the holder releases
   its own; further claims of the holder are renewals.
2. A claim may name the holder's last record, to take over from a holder that has died. It counts only if the holder has
   written nothing since.
3. Each claimant reads the partition back and applies these rules in its order: all come to one result, whatever their
   clocks say. A holder counts as dead after a silence, measured on the reader's own clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from eventzr_kafka.dead_letters.letter import added_headers, dead_letter_topic, parse_whole_number, read_added_headers
from eventzr_kafka.dead_letters.state import Place
from eventzr_kafka.kafka.record import OutgoingRecord, Record

__all__ = ["Claim", "find_holder", "read_claim", "write_claim"]

_KEY: Final = b"eventzr-dlq-claim"
_KINDS: Final = {"claim": False, "release": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One record of a claimant.

    Attributes:
        owner: ``host:pid:random``.
        place: Partition and offset.
        over: Place of the last record of the holder that it takes over from.
        timestamp: Timestamp of the record, in milliseconds.
        released: True if the owner gives the claim back.
    """

    owner: str
    place: Place
    over: Place | None = None
    timestamp: int = -1
    released: bool = False


def write_claim(group_id: str, owner: str, *, over: Place | None = None, released: bool = False) -> OutgoingRecord:
    """Make the record of a claim, of its renewal, or of its release."""
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
    found = read_added_headers(record)
    released = _KINDS.get(found.get("note", ""))
    if released is None or "owner" not in found:
        return None
    partition, offset = map(parse_whole_number, found.get("over", "").partition("@")[::2])
    return Claim(
        owner=found["owner"],
        place=(record.partition, record.offset),
        over=None if partition is None or offset is None else (partition, offset),
        timestamp=record.timestamp,
        released=released,
    )


def find_holder(claims: Iterable[Claim], partition: int) -> Claim | None:
    """The last record of the holder after these claims; None if the partition has none."""
    holder: Claim | None = None
    for claim in sorted((claim for claim in claims if claim.place[0] == partition), key=lambda claim: claim.place):
        if claim.released:
            holder = None if holder is not None and holder.owner == claim.owner else holder
        elif holder is None or holder.owner == claim.owner or claim.over == holder.place:
            holder = claim
    return holder
