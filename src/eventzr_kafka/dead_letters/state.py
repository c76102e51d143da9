"""Whether a letter is open: a rule over the letters and notes of one record, whatever the order in which they are read.

1. A note names the letters that it is about, by their place in the topic: those are closed, and stay so.
2. A letter that the note could not name, because it came later, is of a record that ran again. If the group's commit
   had not passed the record when the replay began, that is a redelivery: a consumer died before its commit. The note
   is about that letter too. If the commit had passed it, offsets were reset: the letter is open.
3. So a note keeps the group's committed offset, read before the letters were, and a letter keeps the position of its
   partition when the event failed. Without a reset positions never fall: a later letter's is at least that offset.
4. Letters and notes of earlier releases lack one or the other. There the clocks decide: a note is about the letters of
   failures before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from eventzr_kafka.dead_letters.letter import Letter, Note

__all__ = ["LetterMark", "Place", "is_about", "is_closed", "mark_of"]

Place: TypeAlias = tuple[int, int]  # partition and offset in the dead-letter topic


class LetterMark(NamedTuple):
    """What the rule asks of a letter."""

    place: Place
    position: int | None
    last_failure: float


def mark_of(letter: Letter) -> LetterMark:
    """What the rule asks of this letter."""
    return LetterMark((letter.partition, letter.offset), letter.facts.position, letter.facts.last_failure)


def is_about(note: Note, mark: LetterMark) -> bool:
    """Whether a note speaks of a letter of its record."""
    if mark.place in note.letters:
        return True
    if note.committed is None or mark.position is None:
        return mark.last_failure <= note.at
    return mark.position >= note.committed


def is_closed(mark: LetterMark, notes: Iterable[Note]) -> bool:
    """Whether one of the notes closes a letter."""
    return any(note.kind != "failed" and is_about(note, mark) for note in notes)
