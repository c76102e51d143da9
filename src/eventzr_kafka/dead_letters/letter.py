"""Dead letters: a failed record → the record that is written to ``<group_id>.dlq``, and back.

1. Key, value and headers of the failed record are kept byte for byte. Headers that begin with ``eventzr-dlq-`` are
   added behind them, and one of those counts the headers before them. So a record that carried headers of these names
   itself is read back exactly, and only the added ones are believed.
2. A record may be as large as its topic allows, or larger once it is decompressed, and its dead letter must fit all the
   same. The letter shrinks step by step: first to the few added headers that a replay needs, then by the value, and at
   last by the record's headers and a long key. A part that was cut out is named by its size and SHA-256; the record
   itself stays in its own topic until retention deletes it.
3. The topic is a journal. A *letter* is closed by a *note* that names it: a record of the same key without a value, of
   kind ``replayed`` or ``discarded``. A note of kind ``failed`` leaves it open and counts the attempts of a replay.
4. A record may have two letters (after a crash between the write and the commit): the first one counts.
5. A letter lacks headers that the client cannot read (`UNREADABLE_HEADERS`); ``eventzr-dlq-unreadable`` says so.
   Reading gives the mark back, and a replay refuses the record as its consumer did.
6. A letter is identified by its record's topic, partition, offset and timestamp. Without the timestamp, a note about a
   record of a topic that was deleted would close the letter of a record in the topic that replaced it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Literal, TypeAlias

from eventzr_kafka.events.event import format_time
from eventzr_kafka.kafka.record import UNREADABLE_HEADERS, Header, OutgoingRecord, Record, UnreadableHeaders

__all__ = [
    "PREFIX",
    "Cut",
    "DeadLetterFacts",
    "Letter",
    "Note",
    "NoteKind",
    "RecordIdentity",
    "Shrink",
    "added_headers",
    "dead_letter_topic",
    "parse_whole_number",
    "read_added_headers",
    "read_letter",
    "read_note",
    "write_letter",
    "write_note",
]

PREFIX = "eventzr-dlq-"
NoteKind: TypeAlias = Literal["replayed", "discarded", "failed"]
Shrink: TypeAlias = Literal[0, 1, 2, 3]
RecordIdentity: TypeAlias = tuple[str, int, int, int]  # topic, partition, offset and timestamp
_LONG = 1_000  # bytes of a key, and characters of an added header, that the smallest letter keeps
_NOTES: dict[str, NoteKind] = {"replayed": "replayed", "discarded": "discarded", "failed": "failed"}


def dead_letter_topic(group_id: str) -> str:
    """Name of the dead-letter topic of a group."""
    return f"{group_id}.dlq"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFacts:
    """The reason and the circumstances of one dead letter.

    Attributes:
        handler: ``Class.method``.
        error: Qualified name of the error's class; ``parked`` for an event that followed another one.
        reason: For people; safe to show.
        attempts: Calls of the handler; 0 if the record could not be read.
        first_failure, last_failure: Seconds since the Unix epoch.
        event_id, event_source: None if the record could not be read.
        ordering_key: The subject or ``topic[partition]`` by which events were ordered; empty if by their tenant alone.
        position: The lowest unfinished offset of the record's partition when the event failed.
    """

    group_id: str
    handler: str
    error: str
    reason: str
    attempts: int
    first_failure: float
    last_failure: float
    event_id: str | None = None
    event_source: str | None = None
    ordering_key: str = ""
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The size and hash of a value for which a letter had no room.

    Attributes:
        size: Bytes of the value.
        sha256: Of the value, in hexadecimal digits.
        headers_too: True if the record's headers are missing too, and its key if that is long.
    """

    size: int
    sha256: str
    headers_too: bool = False

    @classmethod
    def measure(cls, value: bytes | None, *, headers_too: bool = False) -> Cut:
        """Measure a value; the missing one of a tombstone counts as empty."""
        return cls(len(value or b""), hashlib.sha256(value or b"").hexdigest(), headers_too)

    def matches(self, record: Record) -> bool:
        """True if a record has the value that was cut out."""
        return len(record.value or b"") == self.size and Cut.measure(record.value).sha256 == self.sha256


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, read back from its topic.

    Attributes:
        partition, offset: Its place in the dead-letter topic.
        record: The record that failed, as it was; without its value if that is `cut`.
        cut: The value that had to be cut out; None for a whole letter.
    """

    partition: int
    offset: int
    record: Record
    facts: DeadLetterFacts
    cut: Cut | None = None

    @property
    def origin(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the record that failed."""
        return self.record.topic, self.record.partition, self.record.offset

    @property
    def identity(self) -> RecordIdentity:
        """Identity of the record that failed, which all its letters share; see rule 6."""
        return *self.origin, self.record.timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """The result of a replay or a discard of one letter.

    Attributes:
        origin: As `Letter.origin` of the letter.
        why: For ``discarded`` the operator's reason, for ``failed`` the error.
        timestamp: Timestamp of the record that failed, in milliseconds.
        attempts: For ``failed``: all calls of the handler, those of replays included.
        at: Seconds since the Unix epoch.
        letters: Places of the letters of this record that the replay had read, as partition and offset.
        committed: The group's committed offset of the record's partition before the letters were read.
    """

    kind: NoteKind
    origin: tuple[str, int, int]
    at: float
    timestamp: int = -1
    why: str = ""
    attempts: int = 0
    letters: Collection[tuple[int, int]] = ()
    committed: int | None = None

    @property
    def identity(self) -> RecordIdentity:
        """Identity of the record that failed, as `Letter.identity`."""
        return *self.origin, self.timestamp


def write_letter(record: Record, facts: DeadLetterFacts, *, shrink: Shrink = 0) -> OutgoingRecord:
    """Make the dead letter of a record.

    Args:
        shrink: 0 for all added headers, 1 for the few that a replay needs, 2 for all of them and no value, 3 for the
            least that identifies the record.
    """
    needed = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "headers": str(len(record.headers)),
        "ordering-key": facts.ordering_key,
        "position": _number_text(facts.position),
        **({"unreadable": "headers"} if isinstance(record.headers, UnreadableHeaders) else {}),
    }
    more = {
        "group": facts.group_id,
        "handler": facts.handler,
        "error": facts.error,
        "reason": facts.reason,
        "attempts": str(facts.attempts),
        "first-failure": _time_text(facts.first_failure),
        "last-failure": _time_text(facts.last_failure),
        "event-id": facts.event_id or "",
        "event-source": facts.event_source or "",
        "sdk": _sdk_version(),
    }
    topic = dead_letter_topic(facts.group_id)
    if shrink < 2:
        added = added_headers(needed if shrink else {**needed, **more})
        return OutgoingRecord(topic, record.key, record.value, [*_writable_headers(record.headers), *added])
    cut = Cut.measure(record.value, headers_too=shrink == 3)
    named = {"cut": "value,headers" if cut.headers_too else "value", "size": str(cut.size), "sha256": cut.sha256}
    value = None if record.value is None else b""
    if not cut.headers_too:
        added = added_headers({**needed, **more, **named})
        return OutgoingRecord(topic, record.key, value, [*_writable_headers(record.headers), *added])
    fields = {name: text[:_LONG] for name, text in {**needed, **more, **named, "headers": "0"}.items()}
    return OutgoingRecord(topic, _short_key(record.key), value, list(added_headers(fields)))


def is_letter(record: Record) -> bool:
    """Return True for a dead letter, in a dead-letter topic, that says where its record was."""
    found = read_added_headers(record)
    is_named = record.topic.endswith(".dlq") and _read_origin(found) is not None
    return is_named and not _looks_like_note(record, found)


def _writable_headers(headers: Sequence[Header]) -> Iterable[Header]:
    """Replace each lone surrogate in a header's name by ``?``: the client would crash the process on it."""
    return [(name.encode(errors="replace").decode(), value) for name, value in headers]


def _short_key(key: bytes | None) -> bytes | None:
    """The key; for a long one its hash, which no tenant has as its id: the letter gets an ordering key of its own."""
    return key if key is None or len(key) <= _LONG else b"sha256:" + hashlib.sha256(key).hexdigest().encode()


def read_letter(record: Record) -> Letter | None:
    """Read a dead letter; None for a note, also for one that cannot be read.

    A record without the added headers is read as a letter whose record is that of the dead-letter topic itself.
    """
    found = read_added_headers(record)
    if _looks_like_note(record, found):
        return None
    facts = DeadLetterFacts(
        group_id=found.get("group", record.topic.removesuffix(".dlq")),
        handler=found.get("handler", "?"),
        error=found.get("error", "?"),
        reason=found.get("reason", _default_reason(record)),
        attempts=parse_whole_number(found.get("attempts", "")) or 0,
        first_failure=_parse_time(found.get("first-failure", ""), record.timestamp),
        last_failure=_parse_time(found.get("last-failure", ""), record.timestamp),
        event_id=found.get("event-id") or None,
        event_source=found.get("event-source") or None,
        ordering_key=found.get("ordering-key", ""),
        position=parse_whole_number(found.get("position", "")),
    )
    return Letter(record.partition, record.offset, _failed_record(record, found), facts, _read_cut(found))


def _read_cut(found: dict[str, str]) -> Cut | None:
    size = parse_whole_number(found.get("size", ""))
    if "cut" not in found or size is None:
        return None
    return Cut(size, found.get("sha256", ""), "headers" in found["cut"])


def _default_reason(record: Record) -> str:
    if isinstance(record.headers, UnreadableHeaders):
        return "not known: the letter's own headers cannot be read, because a name among them is not UTF-8"
    return "not known: the letter had no room for it"


def _failed_record(record: Record, found: dict[str, str]) -> Record:
    """The record that failed; the letter's own record if its headers do not say where the failed one was."""
    origin, kept = _read_origin(found), parse_whole_number(found.get("headers", ""))
    if origin is None or kept is None:
        return record
    topic, partition, offset = origin
    headers = UNREADABLE_HEADERS if "unreadable" in found else tuple(record.headers[:kept])
    timestamp = _read_timestamp(found)
    return record._replace(topic=topic, partition=partition, offset=offset, headers=headers, timestamp=timestamp)


def write_note(group_id: str, key: bytes | None, note: Note) -> OutgoingRecord:
    """Make the note that a letter was replayed, was discarded, or has failed again.

    Args:
        key: Key of the letter: a note stands on the same partition.
    """
    topic, partition, offset = note.origin
    fields = {
        "note": note.kind,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "timestamp": str(note.timestamp),
        "at": _time_text(note.at),
        "why": note.why,
        "attempts": str(note.attempts),
        "letters": " ".join(f"{partition}@{offset}" for partition, offset in sorted(note.letters)),
        "committed": _number_text(note.committed),
        "sdk": _sdk_version(),
    }
    return OutgoingRecord(dead_letter_topic(group_id), key, None, list(added_headers(fields)))


def read_note(record: Record) -> Note | None:
    """Read a note; None for anything else."""
    found = read_added_headers(record)
    kind, origin = _NOTES.get(found.get("note", "")), _read_origin(found)
    if kind is None or origin is None or not _looks_like_note(record, found):
        return None
    return Note(
        kind=kind,
        origin=origin,
        timestamp=_read_timestamp(found),
        at=_parse_time(found.get("at", ""), record.timestamp),
        why=found.get("why", ""),
        attempts=parse_whole_number(found.get("attempts", "")) or 0,
        letters=_parse_places(found.get("letters", "")),
        committed=parse_whole_number(found.get("committed", "")),
    )


def _parse_places(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [
        (parse_whole_number(before), parse_whole_number(after))
        for before, _, after in (word.partition("@") for word in text.split())
    ]
    return tuple((before, after) for before, after in pairs if before is not None and after is not None)


def _looks_like_note(record: Record, found: dict[str, str]) -> bool:
    return record.value is None and "note" in found


def _read_origin(found: dict[str, str]) -> tuple[str, int, int] | None:
    partition, offset = parse_whole_number(found.get("partition", "")), parse_whole_number(found.get("offset", ""))
    if "topic" not in found or partition is None or offset is None:
        return None
    return found["topic"], partition, offset


def _read_timestamp(found: dict[str, str]) -> int:
    number = parse_whole_number(found.get("timestamp", ""))
    return -1 if number is None else number


def added_headers(fields: dict[str, str]) -> Iterable[Header]:
    """Make the added headers from their short names, such as ``offset`` for ``eventzr-dlq-offset``."""
    return [(f"{PREFIX}{name}", text.encode(errors="replace")) for name, text in fields.items()]


def read_added_headers(record: Record) -> dict[str, str]:
    """Read the added headers, by their short names."""
    found = _added_by_name(record.headers)
    return _added_by_name(record.headers[parse_whole_number(found.get("headers", "")) or 0 :])


def _added_by_name(headers: Sequence[Header]) -> dict[str, str]:
    """Headers by short name; of two with one name the last one counts, since added headers stand at the end."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def parse_whole_number(text: str) -> int | None:
    """Read a whole number of 0 or more that fits into 64 bits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _number_text(number: int | None) -> str:
    return "" if number is None else str(number)


def _time_text(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _parse_time(text: str, timestamp_ms: int) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return timestamp_ms / 1000
    return timestamp_ms / 1000 if found.tzinfo is None else found.timestamp()


@cache
def _sdk_version() -> str:
    return f"eventzr-kafka/{version('eventzr-kafka')}"
