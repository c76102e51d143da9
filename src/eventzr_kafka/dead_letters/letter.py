"""Dead letters: a failed record → what is written to ``<group_id>.dlq``, and back.

1. Key, value and headers of the record are kept byte for byte. Headers that begin with ``eventzr-dlq-`` are added
   behind them, and how many stood there before is one of those: whatever the record carried, even headers of these
   names, reading gives it back and believes only what was added.
2. A record that was as large as its topic allows, or larger once it is decompressed, must end all the same: level by
   level the letter shrinks to the few headers that a replay needs, then its value is cut out, and at last the record's
   headers and a long key too. What is cut is named by size and SHA-256; the record itself stays in its own topic until
   retention takes it.
3. The topic is a journal. A *letter* is closed by a *note* that names it: a record of the same key without a value, of
   kind ``replayed`` or ``discarded``. Kind ``failed`` leaves it open and counts the attempts of a replay.
4. The letter of a record may be there twice (a crash between writing it and committing): the first one counts.
5. Headers that the client cannot read (`UNREADABLE_HEADERS`) are not in the letter; ``eventzr-dlq-unreadable`` says so,
   and reading gives the mark back, so that a replay refuses the record as its consumer did.
6. A letter is named by where its record was, and by the record's timestamp: offsets begin again where a topic is made
   anew, and a note about an old record must not close the letter of a new one.
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
    "Identity",
    "Letter",
    "Note",
    "NoteKind",
    "Shrink",
    "added_headers",
    "dead_letter_topic",
    "read_added",
    "read_letter",
    "read_note",
    "whole_number",
    "write_letter",
    "write_note",
]

PREFIX = "eventzr-dlq-"
NoteKind: TypeAlias = Literal["replayed", "discarded", "failed"]
Shrink: TypeAlias = Literal[0, 1, 2, 3]
Identity: TypeAlias = tuple[str, int, int, int]
_LONG = 1_000  # bytes of a key, and characters of what is added, that are too many where nothing else is left to cut
_NOTES: dict[str, NoteKind] = {"replayed": "replayed", "discarded": "discarded", "failed": "failed"}


def dead_letter_topic(group_id: str) -> str:
    """The dead-letter topic of a group."""
    return f"{group_id}.dlq"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFacts:
    """Why and where an event ended among the dead letters.

    Attributes:
        handler: ``Class.method``.
        error: Qualified name of the error's class; ``parked`` for an event that followed another one.
        reason: For people; safe to show.
        attempts: Calls of the handler; 0 if the record could not be read.
        first_failure, last_failure: Seconds since the Unix epoch.
        event_id, event_source: None if the record could not be read; the source also in letters of earlier releases.
        ordering_key: The subject or ``topic[partition]`` by which events were ordered; empty if by their tenant alone.
        position: The lowest offset of the record's partition without an outcome when the event failed.
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
    """The value that a letter had no room for.

    Attributes:
        size: Bytes of the value.
        sha256: Of the value, in hexadecimal digits.
        headers_too: Whether the record's headers are missing too, and its key if that is long.
    """

    size: int
    sha256: str
    headers_too: bool = False

    @classmethod
    def of(cls, value: bytes | None, *, headers_too: bool = False) -> Cut:
        """Measure a value; that of a tombstone counts as empty."""
        return cls(len(value or b""), hashlib.sha256(value or b"").hexdigest(), headers_too)

    def is_of(self, record: Record) -> bool:
        """Whether a record has the value that was cut out."""
        return len(record.value or b"") == self.size and Cut.of(record.value).sha256 == self.sha256


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was found in the topic.

    Attributes:
        partition, offset: Where it is in the dead-letter topic.
        record: The record that failed, as it was; without its value if that is `cut`.
        cut: What had to be cut out; None for a whole letter.
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
    def identity(self) -> Identity:
        """What two letters of one record have in common, see rule 6."""
        return *self.origin, self.record.timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What became of a letter.

    Attributes:
        origin: Of the letter, see `Letter.origin`.
        why: For ``discarded`` the reason, for ``failed`` what happened.
        timestamp: Of the record that failed, in milliseconds.
        attempts: For ``failed``: calls of the handler in all, the replay's included.
        at: Seconds since the Unix epoch.
        letters: Places of the letters of this record that were there, as partition and offset.
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
    def identity(self) -> Identity:
        """That of the letter."""
        return *self.origin, self.timestamp


def write_letter(record: Record, facts: DeadLetterFacts, *, shrink: Shrink = 0) -> OutgoingRecord:
    """The dead letter of a record.

    Args:
        shrink: 0 for all headers, 1 for the few that a replay needs, 2 for all headers and no value, 3 for the least
            that names the record.
    """
    needed = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "headers": str(len(record.headers)),
        "ordering-key": facts.ordering_key,
        "position": _text(facts.position),
        **({"unreadable": "headers"} if isinstance(record.headers, UnreadableHeaders) else {}),
    }
    more = {
        "group": facts.group_id,
        "handler": facts.handler,
        "error": facts.error,
        "reason": facts.reason,
        "attempts": str(facts.attempts),
        "first-failure": _time(facts.first_failure),
        "last-failure": _time(facts.last_failure),
        "event-id": facts.event_id or "",
        "event-source": facts.event_source or "",
        "sdk": _sdk(),
    }
    topic = dead_letter_topic(facts.group_id)
    if shrink < 2:
        added = added_headers(needed if shrink else {**needed, **more})
        return OutgoingRecord(topic, record.key, record.value, [*_writable(record.headers), *added])
    cut = Cut.of(record.value, headers_too=shrink == 3)
    named = {"cut": "value,headers" if cut.headers_too else "value", "size": str(cut.size), "sha256": cut.sha256}
    value = None if record.value is None else b""
    if not cut.headers_too:
        added = added_headers({**needed, **more, **named})
        return OutgoingRecord(topic, record.key, value, [*_writable(record.headers), *added])
    fields = {name: text[:_LONG] for name, text in {**needed, **more, **named, "headers": "0"}.items()}
    return OutgoingRecord(topic, _short(record.key), value, list(added_headers(fields)))


def _writable(headers: Sequence[Header]) -> Iterable[Header]:
    """Headers with a ``?`` for a lone surrogate in a name: the client crashes the process where it finds one."""
    return [(name.encode(errors="replace").decode(), value) for name, value in headers]


def _short(key: bytes | None) -> bytes | None:
    """A key, or what a long one is known by; a lane of its own, as the key is no tenant's."""
    return key if key is None or len(key) <= _LONG else b"sha256:" + hashlib.sha256(key).hexdigest().encode()


def read_letter(record: Record) -> Letter | None:
    """Read a dead letter; None for a note, and for what looks like a note and is none.

    What has no such headers is read as a record of the dead-letter topic itself.
    """
    found = read_added(record)
    if _is_note(record, found):
        return None
    facts = DeadLetterFacts(
        group_id=found.get("group", record.topic.removesuffix(".dlq")),
        handler=found.get("handler", "?"),
        error=found.get("error", "?"),
        reason=found.get("reason", _why_unknown(record)),
        attempts=whole_number(found.get("attempts", "")) or 0,
        first_failure=_seconds(found.get("first-failure", ""), record.timestamp),
        last_failure=_seconds(found.get("last-failure", ""), record.timestamp),
        event_id=found.get("event-id") or None,
        event_source=found.get("event-source") or None,
        ordering_key=found.get("ordering-key", ""),
        position=whole_number(found.get("position", "")),
    )
    return Letter(record.partition, record.offset, _original(record, found), facts, _cut(found))


def _cut(found: dict[str, str]) -> Cut | None:
    size = whole_number(found.get("size", ""))
    if "cut" not in found or size is None:
        return None
    return Cut(size, found.get("sha256", ""), "headers" in found["cut"])


def _why_unknown(record: Record) -> str:
    if isinstance(record.headers, UnreadableHeaders):
        return "not known: the letter's own headers cannot be read, because a name among them is not UTF-8"
    return "the headers that say it did not fit"


def _original(record: Record, found: dict[str, str]) -> Record:
    """The record that failed; the letter itself where nothing says what it was."""
    origin, kept = _origin(found), whole_number(found.get("headers", ""))
    if origin is None or kept is None:
        return record
    topic, partition, offset = origin
    headers = UNREADABLE_HEADERS if "unreadable" in found else tuple(record.headers[:kept])
    timestamp = _timestamp(found)
    return record._replace(topic=topic, partition=partition, offset=offset, headers=headers, timestamp=timestamp)


def write_note(group_id: str, key: bytes | None, note: Note) -> OutgoingRecord:
    """The note that a letter was replayed, discarded, or has failed again; it has the letter's key."""
    topic, partition, offset = note.origin
    fields = {
        "note": note.kind,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "timestamp": str(note.timestamp),
        "at": _time(note.at),
        "why": note.why,
        "attempts": str(note.attempts),
        "letters": " ".join(f"{partition}@{offset}" for partition, offset in sorted(note.letters)),
        "committed": _text(note.committed),
        "sdk": _sdk(),
    }
    return OutgoingRecord(dead_letter_topic(group_id), key, None, list(added_headers(fields)))


def read_note(record: Record) -> Note | None:
    """Read a note; None for anything else."""
    found = read_added(record)
    kind, origin = _NOTES.get(found.get("note", "")), _origin(found)
    if kind is None or origin is None or not _is_note(record, found):
        return None
    return Note(
        kind=kind,
        origin=origin,
        timestamp=_timestamp(found),
        at=_seconds(found.get("at", ""), record.timestamp),
        why=found.get("why", ""),
        attempts=whole_number(found.get("attempts", "")) or 0,
        letters=_places(found.get("letters", "")),
        committed=whole_number(found.get("committed", "")),
    )


def _places(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [
        (whole_number(before), whole_number(after))
        for before, _, after in (word.partition("@") for word in text.split())
    ]
    return tuple((before, after) for before, after in pairs if before is not None and after is not None)


def _is_note(record: Record, found: dict[str, str]) -> bool:
    return record.value is None and "note" in found


def _origin(found: dict[str, str]) -> tuple[str, int, int] | None:
    partition, offset = whole_number(found.get("partition", "")), whole_number(found.get("offset", ""))
    if "topic" not in found or partition is None or offset is None:
        return None
    return found["topic"], partition, offset


def _timestamp(found: dict[str, str]) -> int:
    number = whole_number(found.get("timestamp", ""))
    return -1 if number is None else number


def added_headers(fields: dict[str, str]) -> Iterable[Header]:
    """The headers that are added, from their short names."""
    return [(f"{PREFIX}{name}", text.encode(errors="replace")) for name, text in fields.items()]


def read_added(record: Record) -> dict[str, str]:
    """The headers that were added, by their short names."""
    found = _by_name(record.headers)
    return _by_name(record.headers[whole_number(found.get("headers", "")) or 0 :])


def _by_name(headers: Sequence[Header]) -> dict[str, str]:
    """The last of a name counts: it is the one that was added."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def whole_number(text: str) -> int | None:
    """A whole number of 0 or more that fits into 64 bits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _seconds(text: str, timestamp_ms: int) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return timestamp_ms / 1000
    return timestamp_ms / 1000 if found.tzinfo is None else found.timestamp()


@cache
def _sdk() -> str:
    return f"eventzr-kafka/{version('eventzr-kafka')}"
