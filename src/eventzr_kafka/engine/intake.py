"""What comes in: the records of one batch, sorted into lanes.

A batch is of one partition, and so of one topic: what its records have in common is looked up once, in an `Origin`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.engine.lanes import Lanes, TenantLanes
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.handlers.binding import BoundRoute
from eventzr_kafka.handlers.options import ConsumerOptions, Ordering
from eventzr_kafka.kafka.record import Header, Record

__all__ = ["Origin", "Work", "admit", "lane_name", "lanes_for", "read"]

_RECORD_OVERHEAD = 580  # bytes that a buffered record costs besides its value: key, tuples, its place in a lane
_HEADER_OVERHEAD = 160  # bytes that a header costs besides its name and value


class Origin:
    """What the records of one batch have in common.

    Attributes:
        detour: Whether they may go elsewhere than straight to their handler.
    """

    __slots__ = ("call", "context", "decode", "detour", "epoch", "in_batches", "ledger", "route")

    def __init__(self, epoch: Epoch, route: BoundRoute, records: Sequence[Record], *, parks: bool = False) -> None:
        self.epoch = epoch
        self.ledger = epoch.ledger
        self.route = route
        self.call = route.call
        self.context = route.context
        self.in_batches = route.batch is not None
        self.detour = parks or self.in_batches
        self.decode = route.decoder.reader(records)


# What stands in a lane: a record, where it came from, the event where its subject chose the lane, and the bytes.
Work: TypeAlias = tuple[Record, Origin, CloudEvent[Any] | None, int]
_Keys: TypeAlias = Sequence[Hashable]


def lanes_for(options: ConsumerOptions) -> Lanes[Work]:
    """Empty lanes for an order."""
    max_items, max_bytes = options.max_buffered_events, options.max_buffered_bytes
    if options.ordering in ("tenant", "partition"):
        return Lanes(max_items=max_items, max_bytes=max_bytes)
    return TenantLanes(max_items=max_items, max_bytes=max_bytes, tenant_limit=options.tenant_concurrency)


def admit(lanes: Lanes[Work], ordering: Ordering, origin: Origin, records: Sequence[Record]) -> None:
    """Put records into their lanes."""
    _SORTS[ordering](lanes, origin, records)


def lane_name(ordering: Ordering, record: Record, event: CloudEvent[Any] | None) -> str:
    """What names the lane of a record beside its tenant, for people and for dead letters."""
    if ordering == "partition":
        return f"{record.topic}[{record.partition}]"
    return (event.subject or "") if ordering == "subject" and event is not None else ""


def _work(origin: Origin, records: Sequence[Record]) -> list[Work]:
    plain = STRUCTURED_HEADERS  # one object, shared by all records that have no others
    extra = [0 if record[5] is plain else _size(record[5]) for record in records]  # 5: the headers, 4: the value
    return [
        (record, origin, None, len(record[4] or b"") + _RECORD_OVERHEAD + more)
        for record, more in zip(records, extra, strict=True)
    ]


def _size(headers: Sequence[Header]) -> int:
    return sum([_HEADER_OVERHEAD + len(name) + len(value or b"") for name, value in headers])


def _by_tenant(lanes: Lanes[Work], origin: Origin, records: Sequence[Record]) -> None:
    tenants = [record[3] for record in records]  # 3: the key; by number, since every record passes here
    lanes.add(tenants, tenants, _work(origin, records))


def _by_partition(lanes: Lanes[Work], origin: Origin, records: Sequence[Record]) -> None:
    partitions = [origin.epoch.partition] * len(records)
    lanes.add(partitions, partitions, _work(origin, records))


def _by_record(lanes: Lanes[Work], origin: Origin, records: Sequence[Record]) -> None:
    keys: _Keys = [(origin.epoch.number, record.offset) for record in records]
    lanes.add([record.key for record in records], keys, _work(origin, records))


def _by_subject(lanes: Lanes[Work], origin: Origin, records: Sequence[Record]) -> None:
    events = [read(origin, record) for record in records]
    tenants = [record.key for record in records]
    keys: _Keys = [(tenant, event.subject if event else None) for tenant, event in zip(tenants, events, strict=True)]
    work = zip(_work(origin, records), events, strict=True)
    lanes.add(tenants, keys, [(record, origin, event, size) for (record, _, _, size), event in work])


def read(origin: Origin, record: Record) -> CloudEvent[Any] | None:
    """The event of a record ahead of its turn, in which it is decoded again, and refused if it is not one."""
    try:
        return origin.decode(record)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 -- a validator of the payload class may raise anything
        return None


_SORTS: dict[Ordering, Callable[[Lanes[Work], Origin, Sequence[Record]], None]] = {
    "tenant": _by_tenant,
    "subject": _by_subject,
    "partition": _by_partition,
    "none": _by_record,
}
