"""The journal of a dead-letter topic: what is open, what is closed, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import Record
from eventzr_kafka.dead_letters.claim import write_claim
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry, Selection, summarise_letters
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Note, NoteKind, write_letter, write_note
from eventzr_kafka.dead_letters.state import Place
from eventzr_kafka.kafka.record import OutgoingRecord

FACTS = DeadLetterFacts(
    group_id="g", handler="H.h", error="E", reason="r", attempts=5, first_failure=1.0, last_failure=1.0, event_id="e"
)


def stored(written: OutgoingRecord, offset: int, partition: int = 0) -> Record:
    return Record(written.topic, partition, offset, written.key, written.value, tuple(written.headers), 1000)


def letter(  # noqa: PLR0913 -- each test names the one that it is about
    number: int,
    at: int,
    *,
    tenant: str = "t",
    failed_at: float = 100.0,
    error: str = "KeyError",
    timestamp: int = 7,
    partition: int = 0,
    source: str | None = "s",
    event_id: str | None = None,
) -> Record:
    """The letter of record `number`, at offset `at` of the dead-letter topic."""
    facts = DeadLetterFacts(
        group_id="g",
        handler="H.h",
        error=error,
        reason="r",
        attempts=5,
        first_failure=failed_at,
        last_failure=failed_at,
        event_id=event_id or f"e{number}",
        event_source=source,
    )
    record = Record("orders", 0, number, tenant.encode(), b"large", (("h", b"v"),), timestamp)
    return stored(write_letter(record, facts), at, partition)


def note(number: int, at: int, kind: NoteKind, *, attempts: int = 0, timestamp: int = 7, why: str = "w") -> Record:
    said = Note(kind=kind, origin=("orders", 0, number), timestamp=timestamp, at=1_000.0, why=why, attempts=attempts)
    return stored(write_note("g", b"t", said), at)


def placed(position: int, place: Place) -> Record:
    """A letter of record 5 of this release, at a place in the topic; its clock is ahead of every note's."""
    facts = replace(FACTS, position=position, last_failure=1e6)
    record = Record("orders", 0, 5, b"t", b"v", (), 7)
    return stored(write_letter(record, facts), place[1], place[0])


def closing(place: Place, committed: int, *letters: Place, kind: NoteKind = "replayed") -> Record:
    """A note of this release about record 5."""
    about = Note(
        kind=kind, origin=("orders", 0, 5), timestamp=7, at=100.0 + place[1], letters=letters, committed=committed
    )
    return stored(write_note("g", b"t", about), place[1], place[0])


def journal_of(*records: Record) -> DeadLetterJournal:
    journal = DeadLetterJournal()
    journal.add(records)
    return journal


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [entry.letter.record.offset for entry in entries]


KINDS: tuple[NoteKind, ...] = ("replayed", "discarded", "failed")
HAPPENINGS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["letter", *KINDS])), max_size=30)


@given(HAPPENINGS)
def test_letter_is_open_until_closed(happenings: list[tuple[int, str]]) -> None:
    records = [
        letter(number, at) if kind == "letter" else note(number, at, next(k for k in KINDS if k == kind))
        for at, (number, kind) in enumerate(happenings)
    ]
    written = {number for number, kind in happenings if kind == "letter"}
    closed = {number for number, kind in happenings if kind in ("replayed", "discarded")}

    journal = journal_of(*records)

    assert set(numbers(journal.open)) == written - closed
    assert set(numbers(journal.entries)) == written
    assert journal.duplicates == sum(kind == "letter" for _, kind in happenings) - len(written)
    assert len(journal.closed("replayed")) + len(journal.closed("discarded")) == len(written & closed)


@given(HAPPENINGS, st.data())
def test_position_of_notes_is_irrelevant(happenings: list[tuple[int, str]], data: st.DataObject) -> None:
    letters = [letter(number, at) for at, (number, kind) in enumerate(happenings) if kind == "letter"]
    notes = [note(number, 0, next(k for k in KINDS if k == kind)) for number, kind in happenings if kind != "letter"]
    shuffled = data.draw(st.permutations(notes))

    assert numbers(journal_of(*letters, *notes).open) == numbers(journal_of(*shuffled, *letters).open)


def test_redelivered_letter_stays_closed_whatever_its_clock() -> None:
    first, again = placed(3, (0, 0)), placed(4, (0, 9))
    note = closing((0, 1), 4, (0, 0))  # the replay began when the group had committed 4, and not yet 5

    assert journal_of(first, note, again).open == []
    assert [entry.letter.offset for entry in journal_of(first, note, placed(3, (0, 9))).open] == [9]  # a reset to 3


def test_letter_after_a_reset_is_open() -> None:
    first, again = placed(3, (0, 0)), placed(5, (0, 9))
    note = closing((0, 1), 6, (0, 0))

    (entry,) = journal_of(first, note, again).open

    assert entry.letter.offset == 9
    assert set(entry.places) == {(0, 0), (0, 9)}
    assert journal_of(first, note, again, closing((0, 10), 6, (0, 0), (0, 9))).open == []


def closing_at(place: Place, committed: int, letters: list[Place], kind: NoteKind) -> Record:
    return closing(place, committed, *letters, kind=kind)


PLACES = st.tuples(st.integers(0, 2), st.integers(0, 5))
WRITTEN = st.lists(
    st.one_of(
        st.builds(placed, st.integers(0, 5), PLACES),
        st.builds(closing_at, PLACES, st.integers(0, 8), st.lists(PLACES, max_size=2), st.sampled_from(KINDS)),
        st.builds(letter, st.just(5), st.integers(0, 5), failed_at=st.floats(1, 2000), partition=st.integers(0, 2)),
        st.builds(note, st.just(5), st.integers(0, 5), st.sampled_from(KINDS)),
    ),
    unique_by=lambda record: record[1:3],
    max_size=12,
)


@given(WRITTEN, st.data())
def test_order_of_partitions_is_irrelevant(written: list[Record], data: st.DataObject) -> None:
    def state(records: Sequence[Record]) -> list[object]:
        return [(e.letter, e.closing_note, e.failed_note, e.attempts, e.places) for e in journal_of(*records).entries]

    queues = [[record for record in written if record.partition == number] for number in range(3)]
    interleaved: list[Record] = []
    while any(queues):
        interleaved.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))

    assert state(interleaved) == state(written)


def test_claims_are_readable() -> None:
    journal = journal_of(stored(write_claim("g", "owner"), 0))

    assert ([claim.owner for claim in journal.claims], journal.unreadable) == (["owner"], 0)


def test_first_of_two_letters_counts() -> None:
    journal = journal_of(letter(1, 10, error="First"), letter(1, 11, error="Second"))

    assert [entry.letter.facts.error for entry in journal.open] == ["First"]
    assert journal.duplicates == 1


def test_note_about_an_old_record_closes_no_new_letter() -> None:
    journal = journal_of(letter(1, 10, timestamp=7), note(1, 11, "replayed", timestamp=7), letter(1, 12, timestamp=8))

    assert [entry.letter.offset for entry in journal.open] == [12]
    assert [entry.letter.offset for entry in journal.named("orders[0]@1")] == [10, 12]


def test_failed_replay_adds_attempts() -> None:
    journal = journal_of(letter(1, 0), note(1, 1, "failed", attempts=7), note(1, 2, "failed", attempts=9, why="again"))

    (entry,) = journal.open
    assert entry.attempts == 9
    assert entry.failed_note is not None
    assert entry.failed_note.why == "again"
    assert journal_of(letter(1, 0)).open[0].attempts == 5


def test_first_closing_note_counts() -> None:
    journal = journal_of(letter(1, 0), note(1, 1, "discarded", why="obsolete"), note(1, 2, "replayed"))

    (entry,) = journal.closed("discarded")
    assert entry.closing_note is not None
    assert entry.closing_note.why == "obsolete"


def test_value_and_headers_are_not_kept() -> None:
    (entry,) = journal_of(letter(1, 0)).open

    assert (entry.letter.record.value, entry.letter.record.headers) == (None, ())
    assert entry.letter.record.key == b"t"


def test_letters_keep_the_order_of_failures_and_partitions() -> None:
    journal = journal_of(
        letter(3, 1, failed_at=150.0),  # a clock that went back
        letter(2, 0, failed_at=300.0),
        letter(4, 0, failed_at=200.0, partition=1),
        letter(5, 1, failed_at=400.0, partition=1),
    )

    assert numbers(journal.open) == [4, 2, 3, 5]


def test_letter_is_found_by_its_record_and_by_its_place() -> None:
    journal = journal_of(letter(8, 3, partition=2))

    assert numbers(journal.named("orders[0]@8")) == numbers(journal.named("2@3")) == [8]
    assert journal.named("2@4") == []


def test_unknown_note_is_unreadable() -> None:
    strange = Record("g.dlq", 0, 0, b"t", None, (("eventzr-dlq-note", b"later-version"),))

    journal = journal_of(strange, letter(1, 1))

    assert (journal.unreadable, numbers(journal.open)) == (1, [1])


def test_replayed_events_have_full_names() -> None:
    bare = stored(OutgoingRecord("g.dlq", None, b"v", []), 9)
    journal = journal_of(letter(1, 0), letter(2, 1), bare, note(1, 2, "replayed"), note(2, 3, "discarded"))

    assert list(journal.replayed_events()) == [("t", "s", "e1")]
    assert journal.open[0].event is None
    assert journal.open[0].tenant == ""


def test_letter_without_source_is_nameless() -> None:
    (entry,) = journal_of(letter(1, 0, source=None), note(1, 1, "replayed")).entries

    assert entry.letter.facts.event_id == "e1"
    assert entry.event is None


def test_one_id_of_two_sources_is_two() -> None:
    journal = journal_of(
        letter(0, 0, event_id="42", source="svc-a"),
        letter(1, 1, event_id="42", source="svc-b"),
        letter(2, 2, event_id="42", source="svc-a", tenant="other"),
        *(note(number, 3 + number, "replayed") for number in range(3)),
    )

    assert len(journal.replayed_events()) == 3


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(tenant="a"), [0, 2]),
        (Selection(type="orders"), [0, 1, 2, 3]),
        (Selection(type="order"), []),
        (Selection(error="Odd"), [1, 3]),
        (Selection(since=101.0), [1, 2, 3]),
        (Selection(until=101.0), [0, 1]),
        (Selection(since=101.0, until=102.0, error="Odd"), [1]),
        (Selection(limit=3), [0, 1, 2]),
        (Selection(tenant="a", limit=1), [0]),
    ],
)
def test_filters_are_combined(selection: Selection, meant: list[int]) -> None:
    letters = [
        letter(n, n, tenant="ab"[n % 2], error="Odd" if n % 2 else "Even", failed_at=100.0 + n) for n in range(4)
    ]

    assert numbers(selection.apply(journal_of(*letters).open)) == meant


def test_summary_counts_by_kind() -> None:
    letters = [letter(n, n, tenant=f"t{n}", failed_at=100.0 + n, error="Odd" if n % 2 else "Even") for n in range(5)]

    even, odd = summarise_letters(journal_of(*letters).open)

    assert (even.handler, even.type, even.error, even.count) == ("H.h", "orders", "Even", 3)
    assert (even.oldest, even.newest, even.tenants) == (100.0, 104.0, {"t0", "t2", "t4"})
    assert (odd.count, odd.oldest, odd.newest) == (2, 101.0, 103.0)


def test_record_that_fails_after_its_letter_was_closed_is_open() -> None:
    journal = DeadLetterJournal()
    journal.add([letter(0, 0), note(0, 1, "replayed"), letter(0, 2, failed_at=2_000.0)])
    assert [entry.letter.facts.last_failure for entry in journal.open] == [2_000.0]


def test_other_records_are_counted() -> None:
    strange = Record("g.dlq", 0, 0, b"t", None, (("eventzr-dlq-note", b"later-version"),))

    journal = journal_of(strange, strange)

    assert (journal.unreadable, journal.duplicates, journal.entries) == (2, 0, [])


def test_later_letters_are_duplicates() -> None:
    assert journal_of(letter(1, 0), letter(1, 1), letter(1, 2)).duplicates == 2


def test_letter_knows_its_values_size() -> None:
    empty = stored(OutgoingRecord("g.dlq", b"t", None, []), 9)

    assert [entry.size for entry in journal_of(letter(1, 0), empty).entries] == [5, 0]


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(letters={"orders[0]@2"}), [2]),
        (Selection(letters=("0@1", "orders[0]@3", "orders[0]@9")), [1, 3]),
        (Selection(letters=("0@1",), error="Even"), []),
        (Selection(since=100.5, until=101.5), [1]),
        (Selection(since=104.0), []),
        (Selection(until=99.0), []),
        (Selection(limit=0), []),
    ],
)
def test_letters_are_selected_by_time(selection: Selection, meant: list[int]) -> None:
    letters = [letter(n, n, error="Odd" if n % 2 else "Even", failed_at=100.0 + n) for n in range(4)]

    assert numbers(selection.apply(journal_of(*letters).open)) == meant


def test_letter_of_its_notes_time_is_closed() -> None:
    assert journal_of(note(0, 0, "replayed"), letter(0, 1, failed_at=1_000.0)).open == []
    assert numbers(journal_of(note(0, 0, "replayed"), letter(0, 1, failed_at=1_000.5)).open) == [0]


def test_early_notes_count_failures() -> None:
    (entry,) = journal_of(note(0, 0, "failed", attempts=8), note(0, 1, "discarded", why="old"), letter(0, 2)).entries

    assert (
        entry.attempts,
        entry.closing_note and entry.closing_note.why,
        entry.failed_note and entry.failed_note.why,
    ) == (8, "old", "w")


def test_reopened_letter_drops_old_notes() -> None:
    for records in (
        [letter(0, 0), note(0, 1, "failed", attempts=9), note(0, 2, "replayed"), letter(0, 3, failed_at=2_000.0)],
        [note(0, 1, "failed", attempts=9), note(0, 2, "replayed"), letter(0, 3, failed_at=2_000.0)],
    ):
        (entry,) = journal_of(*records).open
        assert (entry.attempts, entry.failed_note, entry.letter.offset) == (5, None, 3)


def test_equal_times_sort_by_offset() -> None:
    records = [letter(1, 7, partition=1), letter(2, 6, partition=1), letter(3, 8), letter(4, 9)]

    assert numbers(journal_of(*records).entries) == [3, 4, 2, 1]
    assert numbers(journal_of(letter(1, 0, failed_at=0.8), letter(2, 0, failed_at=0.2, partition=1)).open) == [2, 1]


def test_summaries_sort_by_count() -> None:
    errors = ["B", "C", "A", "C"]
    summaries = summarise_letters(journal_of(*[letter(n, n, error=error) for n, error in enumerate(errors)]).open)

    assert [(summary.error, summary.count) for summary in summaries] == [("C", 2), ("A", 1), ("B", 1)]
