"""What stands in a dead-letter topic: its letters, which of them are open, and what became of the others.

1. A letter is open until a note says ``replayed`` or ``discarded``. Where the note stands does not matter: a topic that
   was given more partitions keeps it on another one.
2. The letters of one record count once; the first one is kept. One that failed after the other was closed is open
   again, see parking.
3. Letters are kept without value and headers, so that a topic of large ones fits into memory.
4. Letters are in the order in which they failed; those of one partition never change places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from eventzr_kafka.dead_letter import Identity, Letter, Note, NoteKind, read_letter, read_note
from eventzr_kafka.identity import EventIdentity
from eventzr_kafka.record import Record

__all__ = ["ANY_LETTER", "DeadLetterJournal", "Entry", "Selection", "Summary", "summarise"]


@dataclass(slots=True, eq=False)
class Entry:
    """A letter, and what its notes say.

    Attributes:
        letter: Without value and headers.
        size: Bytes of the value.
        closed: The note that closed it.
        failed: The last note of a replay that failed.
    """

    letter: Letter
    size: int = 0
    closed: Note | None = None
    failed: Note | None = None

    @property
    def attempts(self) -> int:
        """Calls of the handler in all, those of replays included."""
        return self.letter.facts.attempts if self.failed is None else self.failed.attempts

    @property
    def tenant(self) -> str:
        """The record's key as text."""
        return (self.letter.record.key or b"").decode(errors="replace")

    @property
    def names(self) -> frozenset[str]:
        """``topic[partition]@offset`` of the record, and the letter's own ``partition@offset``."""
        return frozenset({self.letter.record.position, f"{self.letter.partition}@{self.letter.offset}"})

    @property
    def event(self) -> EventIdentity | None:
        """What two publications of one event have in common; None where the letter does not name its event."""
        facts = self.letter.facts
        if facts.event_id is None or facts.event_source is None:
            return None
        return EventIdentity(self.tenant, facts.event_source, facts.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which letters are meant; what is None does not matter.

    Attributes:
        type: Topic of the record, which is the type of its event.
        error: Name of the error's class.
        since, until: Bounds of the last failure, in seconds since the Unix epoch.
        letters: Their names, see `DeadLetterJournal.named`.
        limit: How many at most: the oldest.
    """

    tenant: str | None = None
    type: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None
    letters: Collection[str] = ()
    limit: int | None = None

    def of(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the entries that are meant, in their order."""
        return [entry for entry in entries if self.means(entry)][: self.limit]

    def means(self, entry: Entry) -> bool:
        """Whether an entry passes all filters but the limit."""
        facts = entry.letter.facts
        return (
            self.tenant in (None, entry.tenant)
            and self.type in (None, entry.letter.record.topic)
            and self.error in (None, facts.error)
            and (self.since is None or facts.last_failure >= self.since)
            and (self.until is None or facts.last_failure <= self.until)
            and (not self.letters or not entry.names.isdisjoint(self.letters))
        )


ANY_LETTER = Selection()


@dataclass(slots=True)
class _Notes:
    """Notes about a letter that has not been read yet."""

    closed: Note | None = None
    failed: Note | None = None


class DeadLetterJournal:
    """The letters of one topic, from its records in any order that keeps the partitions'."""

    def __init__(self) -> None:
        """Begin with an empty topic."""
        self.duplicates = 0
        self.unreadable = 0
        self._entries: dict[Identity, Entry] = {}
        self._early: dict[Identity, _Notes] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Take in records of the topic."""
        for record in records:
            note = read_note(record)
            letter = read_letter(record) if note is None else None
            if note is not None:
                self._add_note(note)
            elif letter is not None:
                self._add_letter(letter)
            else:
                self.unreadable += 1

    @property
    def entries(self) -> list[Entry]:
        """Every letter, in order."""
        return _in_order(self._entries.values())

    @property
    def open(self) -> list[Entry]:
        """The letters that nothing has closed, in order."""
        return [entry for entry in self.entries if entry.closed is None]

    def closed(self, kind: NoteKind) -> list[Entry]:
        """The letters that a note of this kind has closed, in order."""
        return [entry for entry in self.entries if entry.closed is not None and entry.closed.kind == kind]

    def replayed_events(self) -> dict[EventIdentity, Entry]:
        """The events that have been replayed, and by which letter."""
        found = ((entry.event, entry) for entry in self.closed("replayed"))
        return {event: entry for event, entry in found if event is not None}

    def named(self, name: str) -> list[Entry]:
        """The letters of a name: ``topic[partition]@offset`` of the record, or the letter's own ``partition@offset``.

        They are several where the record's topic was made anew.
        """
        return [entry for entry in self.entries if name in entry.names]

    def _add_note(self, note: Note) -> None:
        about = self._entries.get(note.identity) or self._early.setdefault(note.identity, _Notes())
        if note.kind == "failed":
            about.failed = note
        else:
            about.closed = about.closed or note

    def _add_letter(self, letter: Letter) -> None:
        known = self._entries.get(letter.identity)
        if known is not None and not _is_after(letter, known.closed):
            self.duplicates += 1
            return
        notes = self._early.pop(letter.identity, _Notes())
        if _is_after(letter, notes.closed):
            notes = _Notes()
        kept = replace(letter, record=letter.record._replace(value=None, headers=()))
        self._entries[letter.identity] = Entry(kept, len(letter.record.value or b""), notes.closed, notes.failed)


def _is_after(letter: Letter, note: Note | None) -> bool:
    """Whether the record has failed once more since its letter was closed, as after offsets were reset."""
    return note is not None and letter.facts.last_failure > note.at


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    """By time of failure, but never against the order of a partition, whatever the clocks said."""
    latest: dict[int, float] = {}
    timed: list[tuple[float, int, int, Entry]] = []
    for entry in sorted(entries, key=lambda entry: entry.letter.offset):
        letter = entry.letter
        time = max(letter.facts.last_failure, latest.get(letter.partition, 0.0))
        latest[letter.partition] = time
        timed.append((time, letter.partition, letter.offset, entry))
    return [entry for *_, entry in sorted(timed, key=lambda item: item[:3])]


@dataclass(slots=True)
class Summary:
    """Letters of one handler, type and error.

    Attributes:
        oldest, newest: Last failures, in seconds since the Unix epoch.
    """

    handler: str
    type: str
    error: str
    count: int = 0
    oldest: float = float("inf")
    newest: float = float("-inf")
    tenants: set[str] = field(default_factory=set[str])


def summarise(entries: Sequence[Entry]) -> list[Summary]:
    """Letters counted by handler, type and error; the most frequent first."""
    found: dict[tuple[str, str, str], Summary] = {}
    for entry in entries:
        facts, kind = entry.letter.facts, entry.letter.record.topic
        key = facts.handler, kind, facts.error
        summary = found.setdefault(key, Summary(*key))
        summary.count += 1
        summary.oldest = min(summary.oldest, facts.last_failure)
        summary.newest = max(summary.newest, facts.last_failure)
        summary.tenants.add(entry.tenant)
    return sorted(found.values(), key=lambda summary: (-summary.count, summary.handler, summary.type, summary.error))
