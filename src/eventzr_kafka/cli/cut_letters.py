"""Values of the dead letters that were written without one: read from the topics of their records, if still there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.dead_letters.journal import Entry
from eventzr_kafka.dead_letters.letter import Letter
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.settings import KafkaSettings

__all__ = ["read_whole", "with_values"]

_Portion: TypeAlias = list[tuple[Entry, Record]]


def read_whole(settings: KafkaSettings, group_id: str, letter: Letter) -> Record | None:
    """The record of a letter from its own topic; None if it was deleted, or if another record has its offset.

    Raises:
        TransportError: The broker does not answer, or refuses to read.
    """
    topic, partition, offset = letter.origin
    batches = ConfluentLogReader(settings, group_id).read(topic, {partition: offset})
    if batches is None or letter.cut is None:
        return None
    first: list[Record] = next(batches, list[Record]())
    del batches  # closes its client
    if not first or first[0].offset != offset or first[0].timestamp != letter.record.timestamp:
        return None
    return first[0] if letter.cut.matches(first[0]) else None


def with_values(
    portion: Iterable[tuple[Entry, Record]], read: Callable[[Letter], Record | None], most: int
) -> Iterator[_Portion]:
    """The letters of a portion with their whole records; a letter whose record was deleted stays as it is.

    Args:
        most: Bytes of such records in memory, about.
    """
    part: _Portion = []
    size = 0
    for entry, record in portion:
        cut = entry.letter.cut
        part.append((entry, record if cut is None else read(entry.letter) or record))
        size += 0 if cut is None else cut.size
        if size >= most:
            yield part
            part, size = [], 0
    if part:
        yield part
