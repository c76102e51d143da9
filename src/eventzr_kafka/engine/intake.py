"""Intake: puts the records of one batch into their lanes.

A batch is of one partition, and so of one topic. What its records have in common is looked up once, and kept in a
`PartitionBatch` that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.selection import FailedPredicate, UnwantedEvent
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.lanes import Lanes, TenantLanes
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions, Ordering
from eventzr_kafka.kafka.record import Header, Record

__all__ = [
    "EarlyReading",
    "PartitionBatch",
    "Work",
    "add_to_lanes",
    "decode_early",
    "epoch_of",
    "lane_name",
    "lanes_for",
]

_RECORD_OVERHEAD = 580  # bytes that a buffered record costs besides its value: key, tuples, its place in a lane
_HEADER_OVERHEAD = 160  # bytes that a header costs besides its name and value


class PartitionBatch:
    """The epoch, the route and the decoder that the records of one batch share.

    Attributes:
        needs_slow_path: True if a record may go elsewhere than straight to its handler: into a batch of events, or to
            the dead letters behind another one of its ordering key.
    """

    __slots__ = ("call", "context", "decode", "epoch", "in_batches", "ledger", "needs_slow_path", "route")

    def __init__(self, epoch: Epoch, route: BoundRoute, *, parks: bool = False) -> None:
        self.epoch = epoch
        self.ledger = epoch.ledger
        self.route = route
        self.call = route.call
        self.context = route.context
        self.in_batches = route.batch is not None
        self.needs_slow_path = parks or self.in_batches
        self.decode = route.decoder


# An item of a lane: a record, its batch, the event if its subject has chosen the lane, and the bytes in memory.
Work: TypeAlias = tuple[Record, PartitionBatch, CloudEvent[Any] | None, int]
_Keys: TypeAlias = Sequence[Hashable]


def epoch_of(work: Work) -> Epoch:
    """Return the epoch in which a record was received."""
    _, batch, _, _ = work
    return batch.epoch


def lanes_for(options: ConsumerOptions) -> Lanes[Work]:
    """Make empty lanes for the order that a group asks for."""
    max_items, max_bytes = options.max_buffered_events, options.max_buffered_bytes
    if options.ordering in ("tenant", "partition"):
        return Lanes(max_items=max_items, max_bytes=max_bytes)
    return TenantLanes(max_items=max_items, max_bytes=max_bytes, tenant_limit=options.tenant_concurrency)


def add_to_lanes(lanes: Lanes[Work], ordering: Ordering, batch: PartitionBatch, records: Sequence[Record]) -> None:
    """Append records to their lanes."""
    _ADDERS[ordering](lanes, batch, records)


def lane_name(ordering: Ordering, record: Record, event: CloudEvent[Any] | None) -> str:
    """Name the ordering key of a record beside its tenant, for people and for dead letters."""
    if ordering == "partition":
        return f"{record.topic}[{record.partition}]"
    return (event.subject or "") if ordering == "subject" and event is not None else ""


@dataclass(frozen=True, slots=True)
class EarlyReading:
    """A record as it is read before its turn.

    Attributes:
        event: As its handler gets it; None if it gets none, or not yet.
        envelope: The event, also one whose `when` does not want it or has failed; None if the record is not an event.
        is_unwanted: True if its `when` does not want it.
    """

    event: CloudEvent[Any] | None
    envelope: CloudEvent[Any] | None
    is_unwanted: bool = False


def decode_early(batch: PartitionBatch, record: Record) -> EarlyReading:
    """Decode a record before its turn. Any failure is left to its turn, when it is decoded again."""
    try:
        event = batch.decode(record)
    except KeyboardInterrupt:
        raise
    except (UnwantedEvent, FailedPredicate) as error:
        return EarlyReading(None, error.event, is_unwanted=type(error) is UnwantedEvent)
    except BaseException:  # noqa: BLE001 -- a validator of the payload class may raise anything
        return EarlyReading(None, None)
    return EarlyReading(event, event)


def _add_by_tenant(lanes: Lanes[Work], batch: PartitionBatch, records: Sequence[Record]) -> None:
    tenants = [record[3] for record in records]  # 3 is the key, read by number: every record passes here
    lanes.add(tenants, tenants, _work_of(batch, records))


def _add_by_partition(lanes: Lanes[Work], batch: PartitionBatch, records: Sequence[Record]) -> None:
    partitions = [batch.epoch.partition] * len(records)
    lanes.add(partitions, partitions, _work_of(batch, records))


def _add_by_record(lanes: Lanes[Work], batch: PartitionBatch, records: Sequence[Record]) -> None:
    keys: _Keys = [(batch.epoch.number, record.offset) for record in records]
    lanes.add([record.key for record in records], keys, _work_of(batch, records))


def _add_by_subject(lanes: Lanes[Work], batch: PartitionBatch, records: Sequence[Record]) -> None:
    early = [decode_early(batch, record) for record in records]
    tenants = [record.key for record in records]
    subjects = [each.envelope.subject if each.envelope else None for each in early]
    keys: _Keys = list(zip(tenants, subjects, strict=True))
    work = zip(_work_of(batch, records), early, strict=True)
    lanes.add(tenants, keys, [(record, batch, each.event, size) for (record, _, _, size), each in work])


_ADDERS: dict[Ordering, Callable[[Lanes[Work], PartitionBatch, Sequence[Record]], None]] = {
    "tenant": _add_by_tenant,
    "subject": _add_by_subject,
    "partition": _add_by_partition,
    "none": _add_by_record,
}


def _work_of(batch: PartitionBatch, records: Sequence[Record]) -> list[Work]:
    plain = STRUCTURED_HEADERS  # one object, shared by all records without other headers
    extra = [0 if record[5] is plain else _size(record[5]) for record in records]  # 5 is the headers, 4 the value
    return [
        (record, batch, None, len(record[4] or b"") + _RECORD_OVERHEAD + more)
        for record, more in zip(records, extra, strict=True)
    ]


def _size(headers: Sequence[Header]) -> int:
    return sum([_HEADER_OVERHEAD + len(name) + len(value or b"") for name, value in headers])
