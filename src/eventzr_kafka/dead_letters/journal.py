"""The journal of a dead-letter topic: its letters, and the notes that closed them.

1. A letter is open until a note says ``replayed`` or ``discarded``, see `state`. The note may stand on any partition,
   as it does in a topic that was given more of them. The order of reading changes nothing.
2. The letters of one record count once: the first open one, or the first of all if none is open.
3. Letters are kept without value and headers, so that a topic of large ones fits into memory.
4. Letters are in the order in which their events failed; those of one partition never change places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from eventzr_kafka.dead_letters.claim import Claim, read_claim
from eventzr_kafka.dead_letters.letter import Letter, Note, NoteKind, RecordIdentity, read_letter, read_note
from eventzr_kafka.dead_letters.state import Place, is_about, is_closed, mark_of
from eventzr_kafka.events.identity import EventIdentity
from eventzr_kafka.kafka.record import Record

__all__ = ["DeadLetterJournal", "Entry", "Selection", "Summary", "summarise_letters"]


@dataclass(slots=True, eq=False)
class Entry:
    """A letter and its notes.

    Attributes:
        letter: Without value and headers.
        size: Bytes of the value.
        closing_note: The note that closed it; the first one, if there are several.
        failed_note: The last note of a replay that failed.
        places: Places of all letters of this record, as partition and offset in the topic.
    """

    letter: Letter
    size: int = 0
    closing_note: Note | None = None
    failed_note: Note | None = None
    places: Collection[Place] = ()

    @property
    def attempts(self) -> int:
        """All calls of the handler, those of replays included."""
        return self.letter.facts.attempts if self.failed_note is None else self.failed_note.attempts

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
        """Identity of the event, which is the same if it was published twice; None if the letter does not name it."""
        facts = self.letter.facts
        if facts.event_id is None or facts.event_source is None:
            return None
        return EventIdentity(self.tenant, facts.event_source, facts.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A filter of letters; a field that is None lets all pass.

    Attributes:
        type: Topic of the record, which is the type of its event.
        error: Name of the error's class.
        since, until: Bounds of the last failure, in seconds since the Unix epoch.
        letters: Names of letters, see `DeadLetterJournal.named`.
        limit: Only this many, the oldest ones.
    """

    tenant: str | None = None
    type: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None
    letters: Collection[str] = ()
    limit: int | None = None

    def apply(self, entries: Iterable[Entry]) -> list[Entry]:
        """Select from these entries; they keep their order."""
        return [entry for entry in entries if self.matches(entry)][: self.limit]

    def matches(self, entry: Entry) -> bool:
        """True if an entry passes all filters but the limit."""
        facts = entry.letter.facts
        return (
            self.tenant in (None, entry.tenant)
            and self.type in (None, entry.letter.record.topic)
            and self.error in (None, facts.error)
            and (self.since is None or facts.last_failure >= self.since)
            and (self.until is None or facts.last_failure <= self.until)
            and (not self.letters or not entry.names.isdisjoint(self.letters))
        )


@dataclass(slots=True)
class _RecordLetters:
    """The letters and notes of one record, by their places in the topic; letters with the size of their value."""

    letters: dict[Place, tuple[Letter, int]] = field(default_factory=dict[Place, tuple[Letter, int]])
    notes: list[tuple[Place, Note]] = field(default_factory=list[tuple[Place, Note]])

    def entry(self) -> Entry:
        """The first open letter, or the first of all, with its notes."""
        places, notes = sorted(self.letters), [note for _, note in self.notes]
        open_ones = [place for place in places if not is_closed(mark_of(self.letters[place][0]), notes)]
        letter, size = self.letters[(open_ones or places)[0]]
        about = [(place, note) for place, note in self.notes if is_about(note, mark_of(letter))]
        closing = [(note.at, place, note) for place, note in about if note.kind != "failed"]
        failures = [(note.attempts, note.at, place, note) for place, note in about if note.kind == "failed"]
        return Entry(
            letter,
            size,
            min(closing, key=lambda found: found[:2])[-1] if closing else None,
            max(failures, key=lambda found: found[:3])[-1] if failures else None,
            frozenset(places),
        )


class DeadLetterJournal:
    """The letters of one topic, from its records in any order.

    Attributes:
        duplicates: The number of letters whose record has an earlier letter.
        unreadable: The number of records that are neither letter nor note nor claim.
    """

    def __init__(self) -> None:
        """Begin with an empty topic."""
        self.duplicates = 0
        self.unreadable = 0
        self.claims: list[Claim] = []
        self._records: dict[RecordIdentity, _RecordLetters] = {}
        self._entries: list[Entry] | None = None

    def add(self, records: Iterable[Record]) -> None:
        """Add records of the topic, in any order."""
        self._entries = None
        for record in records:
            place = (record.partition, record.offset)
            if (note := read_note(record)) is not None:
                self._records.setdefault(note.identity, _RecordLetters()).notes.append((place, note))
            elif (letter := read_letter(record)) is not None:
                self._add_letter(place, letter)
            elif (claim := read_claim(record)) is not None:
                self.claims.append(claim)
            else:
                self.unreadable += 1

    @property
    def entries(self) -> list[Entry]:
        """One letter for each record, in order."""
        if self._entries is None:
            self._entries = _sort_by_failure(found.entry() for found in self._records.values() if found.letters)
        return self._entries

    @property
    def open(self) -> list[Entry]:
        """The open letters, in order."""
        return [entry for entry in self.entries if entry.closing_note is None]

    def closed(self, kind: NoteKind) -> list[Entry]:
        """The letters that a note of this kind has closed, in order."""
        return [entry for entry in self.entries if entry.closing_note is not None and entry.closing_note.kind == kind]

    def replayed_events(self) -> dict[EventIdentity, Entry]:
        """The events that have been replayed, each with the letter by which it was."""
        found = ((entry.event, entry) for entry in self.closed("replayed"))
        return {event: entry for event, entry in found if event is not None}

    def named(self, name: str) -> list[Entry]:
        """The letters of a name: ``topic[partition]@offset`` of the record, or the letter's own ``partition@offset``.

        A name has several letters if the record's topic was deleted and created anew.
        """
        return [entry for entry in self.entries if name in entry.names]

    def _add_letter(self, place: Place, letter: Letter) -> None:
        found = self._records.setdefault(letter.identity, _RecordLetters())
        self.duplicates += bool(found.letters)
        kept = replace(letter, record=letter.record._replace(value=None, headers=()))
        found.letters[place] = (kept, len(letter.record.value or b""))


def _sort_by_failure(entries: Iterable[Entry]) -> list[Entry]:
    """Sort by time of failure, but never against the order of a partition, whatever the clocks were."""
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
    """The number of letters of one handler, type and error.

    Attributes:
        oldest, newest: Times of their last failures, in seconds since the Unix epoch.
    """

    handler: str
    type: str
    error: str
    count: int = 0
    oldest: float = float("inf")
    newest: float = float("-inf")
    tenants: set[str] = field(default_factory=set[str])


def summarise_letters(entries: Sequence[Entry]) -> list[Summary]:
    """Count letters by handler, type and error; the most frequent first."""
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
