"""What stands in a dead-letter topic: its letters, which of them are open, and what became of the others.

1. A letter is open until a note says ``replayed`` or ``discarded``, see dead_letter_state. Where the note stands does
   not matter: a topic that was given more partitions keeps it on another one. Nothing depends on what is read first.
2. The letters of one record count once: the first that is open, or else the first.
3. Letters are kept without value and headers, so that a topic of large ones fits into memory.
4. Letters are in the order in which they failed; those of one partition never change places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from eventzr_kafka.dead_letters.claim import Claim, read_claim
from eventzr_kafka.dead_letters.letter import Identity, Letter, Note, NoteKind, read_letter, read_note
from eventzr_kafka.dead_letters.state import Place, is_about, is_closed, mark_of
from eventzr_kafka.events.identity import EventIdentity
from eventzr_kafka.kafka.record import Record

__all__ = ["ANY_LETTER", "DeadLetterJournal", "Entry", "Selection", "Summary", "summarise"]


@dataclass(slots=True, eq=False)
class Entry:
    """A letter, and what its notes say.

    Attributes:
        letter: Without value and headers.
        size: Bytes of the value.
        closed: The note that closed it; the first one, if there are several.
        failed: The last note of a replay that failed.
        places: Of all letters of this record, as partition and offset in the topic.
    """

    letter: Letter
    size: int = 0
    closed: Note | None = None
    failed: Note | None = None
    places: Collection[Place] = ()

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
class _Known:
    """The letters and notes of one record, with their places in the topic; letters with the size of their value."""

    letters: dict[Place, tuple[Letter, int]] = field(default_factory=dict[Place, tuple[Letter, int]])
    notes: list[tuple[Place, Note]] = field(default_factory=list[tuple[Place, Note]])

    def entry(self) -> Entry:
        """The first letter that is open, or the first of all, with what its notes say."""
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
    """The letters of one topic, from its records in any order."""

    def __init__(self) -> None:
        """Begin with an empty topic.

        `duplicates` counts letters of records that have one already, `unreadable` what is neither letter nor note.
        """
        self.duplicates = 0
        self.unreadable = 0
        self.claims: list[Claim] = []
        self._records: dict[Identity, _Known] = {}
        self._entries: list[Entry] | None = None

    def add(self, records: Iterable[Record]) -> None:
        """Take in records of the topic, in any order."""
        self._entries = None
        for record in records:
            place = (record.partition, record.offset)
            if (note := read_note(record)) is not None:
                self._records.setdefault(note.identity, _Known()).notes.append((place, note))
            elif (letter := read_letter(record)) is not None:
                self._add_letter(place, letter)
            elif (claim := read_claim(record)) is not None:
                self.claims.append(claim)
            else:
                self.unreadable += 1

    @property
    def entries(self) -> list[Entry]:
        """Every record's letter, in order."""
        if self._entries is None:
            self._entries = _in_order(known.entry() for known in self._records.values() if known.letters)
        return self._entries

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

    def _add_letter(self, place: Place, letter: Letter) -> None:
        known = self._records.setdefault(letter.identity, _Known())
        self.duplicates += bool(known.letters)
        kept = replace(letter, record=letter.record._replace(value=None, headers=()))
        known.letters[place] = (kept, len(letter.record.value or b""))


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
