"""Checks replays of dead letters, by the facts of a history and by the headers of letters and notes.

1. A replay takes every letter of its group that no note has closed, and nothing else. So one that crashed is resumed.
2. The letters of a lane run one after another, in the order in which they are in the topic; behind one that fails
   again nothing of its lane runs.
3. Each letter that is taken has one outcome, unless the process ends before. What is replayed or a duplicate is closed
   by a note, which is in the topic before the outcome is reported; a letter that fails again has a note, too.
4. A letter is closed by a replay only after a handler is done with its event. A note closes the letters that it names,
   and later ones of the record whose position is not below the commit that it was written after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.testing.simulation._tracking import Place, words

__all__ = ["Replays"]

_Event: TypeAlias = tuple[object, ...]  # group, tenant, source, id
_Copy: TypeAlias = tuple[str, int]  # place in the topic, and position of the record's partition
_Closing: TypeAlias = tuple[tuple[str, ...], int]  # the places that a note names, and the commit
_LEFT = ("behind", "interrupted", "no_handler")


@dataclass(slots=True, eq=False)
class _Letter:
    """A letter and its notes; times as they are written."""

    lane: object
    where: tuple[int, int]  # partition and offset in the dead-letter topic
    event: _Event
    copies: list[_Copy]
    closings: list[_Closing] = field(default_factory=list["_Closing"])
    closed: bool = False
    failures: int = 0


@dataclass(slots=True, eq=False)
class _Round:
    """One replay of one group."""

    group: str
    taken: dict[Place, _Letter]
    failures: dict[Place, int]
    reported: dict[Place, str] = field(default_factory=dict[Place, str])
    failed_lanes: set[object] = field(default_factory=set[object])


class Replays:
    """See the module's rules."""

    def __init__(
        self,
        options: Mapping[str, ConsumerOptions],
        consumed: Mapping[str, Sequence[str]],
        fail: Callable[[str, str], None],
    ) -> None:
        self._options = options
        self._consumed = consumed
        self._fail = fail
        self._letters: dict[str, dict[Place, _Letter]] = {group: {} for group in consumed}
        self._rounds: dict[str, _Round] = {}
        self._done: set[_Event] = set()

    # Records of a dead-letter topic

    def letter(self, group: str, record: Record, place: Place) -> None:
        """Note a letter: the first one of a record counts, unless it is closed by a note that is not about this one."""
        headers = dict(record.headers)
        copy = (f"{record.partition}@{record.offset}", int(headers["eventzr-dlq-position"] or b""))
        known = self._letters[group].get(place)
        if known is not None:
            known.copies.append(copy)
            if not known.closed or _is_closed(copy, known.closings):
                return
        ordering, name = self._options[group].ordering, headers["eventzr-dlq-ordering-key"]
        lane: object = place if ordering == "none" else name if ordering == "partition" else (record.key, name)
        event: _Event = (group, record.key, headers["eventzr-dlq-event-source"], headers["eventzr-dlq-event-id"])
        where = (record.partition, record.offset)
        self._letters[group][place] = _Letter(lane, where, event, [copy])

    def note(self, group: str, record: Record, place: Place) -> None:
        """Close a letter, or count its failure."""
        headers, letter = dict(record.headers), self._letters[group][place]
        if headers["eventzr-dlq-note"] == b"failed":
            letter.failures += 1
            return
        named = (headers["eventzr-dlq-letters"] or b"").decode().split()
        letter.closings.append((tuple(named), int(headers["eventzr-dlq-committed"] or b"")))
        letter.closed = True
        for copy in letter.copies:
            if not _is_closed(copy, letter.closings):
                partition, offset = map(int, copy[0].split("@"))
                self._letters[group][place] = _Letter(letter.lane, (partition, offset), letter.event, [copy])
                break
        if letter.event not in self._done:
            self._fail("a letter is closed without a replay", f"the one of {words(place)}")

    # Facts of a process

    def begin(self, name: str, group: str, count: int) -> None:
        """Note a replay that takes so many letters."""
        taken = {place: letter for place, letter in self._letters[group].items() if not letter.closed}
        if len(taken) != count:
            self._fail("a replay takes what is open", f"{name} takes {count} letters of {group}, {len(taken)} are open")
        self._rounds[name] = _Round(group, taken, {place: letter.failures for place, letter in taken.items()})

    def call(self, name: str, group: str, place: Place) -> None:
        """Note a call of a handler for a record."""
        this = self._rounds[name]
        letter = this.taken.get(place)
        if letter is None or group != this.group:
            self._fail("a replay takes what is open", f"{name} runs {words(place)} in {group}, which was not open")
            return
        if place in this.reported:
            self._fail("more than one outcome", f"{name} runs {words(place)} again, whose letter has its outcome")
        if letter.lane in this.failed_lanes:
            self._fail("order in a lane", f"{name} runs {words(place)} behind one that failed")
        for other_place, other in this.taken.items():
            if other_place not in this.reported and _is_before(other, letter):
                self._fail("order in a lane", f"{name} runs {words(place)} before {words(other_place)} has its outcome")

    def finish(self, name: str, place: Place) -> None:
        """Note that a handler has finished with a record."""
        self._done.add(self._rounds[name].taken[place].event)

    def report(self, name: str, outcome: str, place: Place) -> None:
        """Note the outcome that a replay has reported for a letter."""
        this = self._rounds[name]
        if place not in this.taken or place in this.reported:
            self._fail("more than one outcome", f"{name} reports the letter of {words(place)}, {outcome}")
        letter, this.reported[place] = this.taken[place], outcome
        if outcome in ("replayed", "duplicate") and not letter.closed:
            self._fail("a letter without its note", f"the one of {words(place)} is {outcome}")
        if outcome == "failed" and letter.failures == this.failures[place]:
            self._fail("a letter without its note", f"the one of {words(place)} has failed again")
        if outcome == "no_handler" and place[0] in self._consumed[this.group]:
            self._fail("a letter finds its handler", f"{name} has none for {words(place)}")
        if (letter.lane in this.failed_lanes) != (outcome == "behind") and outcome not in _LEFT[1:]:
            self._fail("order in a lane", f"the letter of {words(place)} is {outcome}")
        if outcome == "failed":
            this.failed_lanes.add(letter.lane)

    def end(self, name: str) -> None:
        """Check a replay that has come to its end without having been stopped."""
        this = self._rounds[name]
        for place in this.taken:
            if this.reported.get(place, "interrupted") == "interrupted":
                self._fail("a letter has no outcome", f"{name} took the one of {words(place)} and left it")


def _is_closed(copy: _Copy, closings: Iterable[_Closing]) -> bool:
    return any(copy[0] in named or copy[1] >= committed for named, committed in closings)


def _is_before(other: _Letter, letter: _Letter) -> bool:
    """True if it is before another one of its lane: letters of other partitions have no order."""
    return other.lane == letter.lane and other.where[0] == letter.where[0] and other.where[1] < letter.where[1]
