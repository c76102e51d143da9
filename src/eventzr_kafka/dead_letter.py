"""Dead letters: a failed record → what is written to ``<group_id>.dlq``, and back.

1. Key, value and headers of the record are kept byte for byte. Headers that begin with ``eventzr-dlq-`` are added
   behind them, and how many stood there before is one of those: whatever the record carried, even headers of these
   names, reading gives it back and believes only what was added.
2. A record that was as large as its topic allows must fit all the same: the added headers shrink, level by level, to
   where it came from, and to nothing. The value never does.
3. The topic is a journal. A *letter* is closed by a *note* that names it: a record of the same key without a value, of
   kind ``replayed`` or ``discarded``. Kind ``failed`` leaves it open and counts the attempts of a replay.
4. The letter of a record may be there twice (a crash between writing it and committing): the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Literal, TypeAlias

from eventzr_kafka.event import format_time
from eventzr_kafka.record import Header, OutgoingRecord, Record

__all__ = [
    "PREFIX",
    "DeadLetterFacts",
    "Letter",
    "Note",
    "NoteKind",
    "Shrink",
    "dead_letter_topic",
    "read_letter",
    "read_note",
    "write_letter",
    "write_note",
]

PREFIX = "eventzr-dlq-"
NoteKind: TypeAlias = Literal["replayed", "discarded", "failed"]
Shrink: TypeAlias = Literal[0, 1, 2]
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
        event_id: None if the record could not be read.
        lane: What names the lane beside its tenant: the subject, or ``topic[partition]``; empty if nothing does.
    """

    group_id: str
    handler: str
    error: str
    reason: str
    attempts: int
    first_failure: float
    last_failure: float
    event_id: str | None = None
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was found in the topic.

    Attributes:
        partition, offset: Where it is in the dead-letter topic.
        record: The record that failed, as it was.
    """

    partition: int
    offset: int
    record: Record
    facts: DeadLetterFacts

    @property
    def origin(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the record that failed: the identity of the letter."""
        return self.record.topic, self.record.partition, self.record.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What became of a letter.

    Attributes:
        origin: Of the letter, see `Letter.origin`.
        why: For ``discarded`` the reason, for ``failed`` what happened.
        attempts: For ``failed``: calls of the handler in all, the replay's included.
        at: Seconds since the Unix epoch.
    """

    kind: NoteKind
    origin: tuple[str, int, int]
    at: float
    why: str = ""
    attempts: int = 0


def write_letter(record: Record, facts: DeadLetterFacts, *, shrink: Shrink = 0) -> OutgoingRecord:
    """The dead letter of a record.

    Args:
        shrink: 0 for all headers, 1 for the few that a replay needs, 2 for none.
    """
    needed = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "headers": str(len(record.headers)),
    }
    more = {
        "timestamp": str(record.timestamp),
        "group": facts.group_id,
        "handler": facts.handler,
        "error": facts.error,
        "reason": facts.reason,
        "attempts": str(facts.attempts),
        "first-failure": _time(facts.first_failure),
        "last-failure": _time(facts.last_failure),
        "event-id": facts.event_id or "",
        "lane": facts.lane,
        "sdk": _sdk(),
    }
    added = {**needed, **more} if shrink == 0 else needed if shrink == 1 else {}
    headers = [*record.headers, *_headers(added)]
    return OutgoingRecord(dead_letter_topic(facts.group_id), record.key, record.value, headers)


def read_letter(record: Record) -> Letter | None:
    """Read a dead letter; None for a note, and for a record that is neither.

    A letter whose headers had to go (rule 2) is read as a record of the dead-letter topic itself.
    """
    if read_note(record) is not None:
        return None
    found = _added(record)
    group_id = record.topic.removesuffix(".dlq")
    try:
        kept = record.headers[: int(found["headers"])]
        original = record._replace(
            topic=found["topic"],
            partition=int(found["partition"]),
            offset=int(found["offset"]),
            headers=tuple(kept),
            timestamp=int(found.get("timestamp", "-1")),
        )
    except (KeyError, ValueError):
        original = record
    facts = DeadLetterFacts(
        group_id=found.get("group", group_id),
        handler=found.get("handler", "?"),
        error=found.get("error", "?"),
        reason=found.get("reason", "the headers that say it did not fit"),
        attempts=_number(found.get("attempts", "")),
        first_failure=_seconds(found.get("first-failure", ""), record.timestamp),
        last_failure=_seconds(found.get("last-failure", ""), record.timestamp),
        event_id=found.get("event-id") or None,
        lane=found.get("lane", ""),
    )
    return Letter(record.partition, record.offset, original, facts)


def write_note(group_id: str, key: bytes | None, note: Note) -> OutgoingRecord:
    """The note that a letter was replayed, discarded, or has failed again; it has the letter's key."""
    topic, partition, offset = note.origin
    fields = {
        "note": note.kind,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "at": _time(note.at),
        "why": note.why,
        "attempts": str(note.attempts),
        "sdk": _sdk(),
    }
    return OutgoingRecord(dead_letter_topic(group_id), key, None, list(_headers(fields)))


def read_note(record: Record) -> Note | None:
    """Read a note; None for anything else."""
    found = _added(record)
    kind = _NOTES.get(found.get("note", ""))
    if kind is None or record.value is not None or "headers" in found:
        return None
    try:
        origin = found["topic"], int(found["partition"]), int(found["offset"])
    except (KeyError, ValueError):
        return None
    return Note(
        kind=kind,
        origin=origin,
        at=_seconds(found.get("at", ""), record.timestamp),
        why=found.get("why", ""),
        attempts=_number(found.get("attempts", "")),
    )


def _headers(fields: dict[str, str]) -> Iterable[Header]:
    return [(f"{PREFIX}{name}", text.encode(errors="replace")) for name, text in fields.items()]


def _added(record: Record) -> dict[str, str]:
    """The headers that were added, by their short names."""
    found = _by_name(record.headers)
    return _by_name(record.headers[int(found["headers"]) :]) if _number(found.get("headers", "")) else found


def _by_name(headers: Sequence[Header]) -> dict[str, str]:
    """The last of a name counts: it is the one that was added."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _seconds(text: str, timestamp_ms: int) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return timestamp_ms / 1000


@cache
def _sdk() -> str:
    return f"eventzr-kafka/{version('eventzr-kafka')}"
