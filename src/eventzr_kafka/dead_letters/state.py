"""The rule by which a letter is open or closed; it holds in whatever order letters and notes are read.

1. A note lists the letters that it is about, by their place in the topic: those are closed for good.
2. A letter that was written after the note is of a record that ran again. If the group had not committed the record
   when the replay began, the letter is a redelivery: a consumer died before its commit, and the note is about this
   letter too. If the group had committed it, an operator has reset the offsets: the letter is open.
3. So a note holds the group's committed offset, read before the letters were, and a letter holds the lowest unfinished
   offset of its partition when the event failed. Without a reset that never falls: in a later letter it is at least
   the committed offset.
4. Where one of the two is missing the clocks decide: a note is about the letters of earlier failures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from eventzr_kafka.dead_letters.letter import Letter, Note

__all__ = ["LetterMark", "Place", "is_about", "is_closed", "mark_of"]

Place: TypeAlias = tuple[int, int]  # partition and offset in the dead-letter topic


class LetterMark(NamedTuple):
    """The facts of a letter that the rule needs."""

    place: Place
    position: int | None
    last_failure: float


def mark_of(letter: Letter) -> LetterMark:
    """Reduce a letter to the facts that the rule needs."""
    return LetterMark((letter.partition, letter.offset), letter.facts.position, letter.facts.last_failure)


def is_about(note: Note, mark: LetterMark) -> bool:
    """True if a note is about this letter of its record."""
    if mark.place in note.letters:
        return True
    if note.committed is None or mark.position is None:
        return mark.last_failure <= note.at
    return mark.position >= note.committed


def is_closed(mark: LetterMark, notes: Iterable[Note]) -> bool:
    """True if one of the notes closes the letter."""
    return any(note.kind != "failed" and is_about(note, mark) for note in notes)
