"""Any record in, the same record out; and nothing that a record carried is taken for what was added."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventzr_kafka import Record, decode
from eventzr_kafka.dead_letters.letter import (
    PREFIX,
    Cut,
    DeadLetterFacts,
    Letter,
    Note,
    Shrink,
    dead_letter_topic,
    read_letter,
    read_note,
    write_letter,
    write_note,
)
from eventzr_kafka.errors import InvalidEnvelopeError
from eventzr_kafka.kafka.record import UNREADABLE_HEADERS, OutgoingRecord, UnreadableHeaders

SECONDS = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
COUNTS = st.integers(0, 2**62)
NAMES = ("topic", "partition", "offset", "timestamp", "headers", "note", "attempts", "first-failure", "event-id", "at")
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.sampled_from([b"0", b"1", b"2", b"-1", b"9" * 5000, "²".encode(), b"replayed", b"0001-01-01", b"10000-01-01"]),
)
FORGED = st.tuples(st.sampled_from(NAMES).map(lambda name: PREFIX + name), VALUES)
HEADERS = st.lists(st.one_of(st.tuples(st.text(max_size=8), VALUES), FORGED), max_size=6).map(tuple)
RECORDS = st.builds(
    Record,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 1000),
    offset=COUNTS,
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=20),
    headers=HEADERS,
    timestamp=st.integers(-1, 2**60),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FACTS = st.builds(
    DeadLetterFacts,
    group_id=st.just("group"),
    handler=TEXT,
    error=TEXT,
    reason=TEXT,
    attempts=COUNTS,
    first_failure=SECONDS,
    last_failure=SECONDS,
    event_id=st.none() | TEXT.filter(bool),
    ordering_key=TEXT,
)
SOME_FACTS = DeadLetterFacts(
    group_id="group", handler="H.h", error="E", reason="r", attempts=3, first_failure=1.0, last_failure=2.0
)


def stored(written: OutgoingRecord, *, partition: int = 4, offset: int = 44, timestamp: int = 5000) -> Record:
    """What the dead-letter topic gives back."""
    return Record(written.topic, partition, offset, written.key, written.value, tuple(written.headers), timestamp)


def letter_of(record: Record) -> Letter:
    letter = read_letter(record)
    assert letter is not None
    assert read_note(record) is None
    return letter


@given(RECORDS, FACTS)
def test_letter_keeps_record_and_facts(record: Record, facts: DeadLetterFacts) -> None:
    letter = letter_of(stored(write_letter(record, facts)))

    assert letter.record == record
    assert (letter.partition, letter.offset) == (4, 44)
    assert letter.identity == (record.topic, record.partition, record.offset, record.timestamp)
    unrounded = replace(letter.facts, first_failure=facts.first_failure, last_failure=facts.last_failure)
    assert unrounded == facts
    assert letter.facts.first_failure == pytest.approx(facts.first_failure, abs=0.0011)
    assert letter.facts.last_failure == pytest.approx(facts.last_failure, abs=0.0011)


@given(RECORDS, FACTS, st.sampled_from([0, 1]))
def test_key_and_value_stay_byte_for_byte(record: Record, facts: DeadLetterFacts, shrink: Shrink) -> None:
    written = write_letter(record, facts, shrink=shrink)

    assert (written.topic, written.key, written.value) == ("group.dlq", record.key, record.value)
    assert written.headers[: len(record.headers)] == list(record.headers)


@given(RECORDS, FACTS)
def test_short_form_keeps_the_record(record: Record, facts: DeadLetterFacts) -> None:
    letter = letter_of(stored(write_letter(record, facts, shrink=1)))

    assert letter.record == record
    assert letter.facts.handler == "?"
    assert letter.facts.group_id == "group"
    assert letter.facts.last_failure == 5.0


@given(RECORDS, FACTS)
def test_cut_letter_knows_its_value(record: Record, facts: DeadLetterFacts) -> None:
    letter, cut = letter_of(stored(write_letter(record, facts, shrink=2))), Cut.measure(record.value)

    assert letter.record == record._replace(value=None if record.value is None else b"")
    assert letter.cut == cut
    assert cut.matches(record)
    assert not cut.matches(record._replace(value=(record.value or b"") + b"."))
    assert (letter.facts.handler, letter.facts.error, letter.facts.reason) == (facts.handler, facts.error, facts.reason)


@given(RECORDS, FACTS)
def test_least_letter_names_its_record(record: Record, facts: DeadLetterFacts) -> None:
    letter = letter_of(stored(write_letter(record, facts, shrink=3)))

    assert letter.identity == (record.topic, record.partition, record.offset, record.timestamp)
    assert (letter.record.key, letter.record.headers) == (record.key, ())
    assert letter.cut == Cut.measure(record.value, headers_too=True)
    assert (letter.facts.handler, letter.facts.ordering_key) == (facts.handler, facts.ordering_key)


def test_least_letter_is_always_small() -> None:
    record = Record("t", 0, 0, b"k" * 2**20, b"v" * 2**20, (("h" * 2**20, b"h" * 2**20),))
    long = "x" * 2**20
    written = write_letter(record, replace(SOME_FACTS, reason=long, event_id=long, ordering_key=long), shrink=3)

    assert size_of(written) < 5_000
    assert len(written.key or b"") == len("sha256:") + 64


def test_value_is_known_by_size_and_hash() -> None:
    cut = letter_of(stored(write_letter(Record("t", 0, 0, b"k", b"abc"), SOME_FACTS, shrink=2))).cut

    assert cut == Cut(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def test_lone_surrogate_can_be_written() -> None:
    written = write_letter(Record("t", 0, 0, b"k", b"v", (("a\udcff", b"1"),)), SOME_FACTS)

    assert written.headers[0] == ("a?", b"1")


def size_of(written: OutgoingRecord) -> int:
    headers = sum(len(name.encode()) + len(value or b"") for name, value in written.headers)
    return headers + len(written.key or b"") + len(written.value or b"")


@given(RECORDS)
@example(Record("g.dlq", 0, 0, None, None, ((PREFIX + "headers", b"9" * 5000),)))
@example(Record("g.dlq", 0, 0, None, None, ((PREFIX + "note", b"unknown"),)))
def test_any_record_reads_without_error(record: Record) -> None:
    note, letter = read_note(record), read_letter(record)

    assert note is None or letter is None
    assert note is not None or letter is not None or record.value is None


@given(RECORDS, FACTS)
def test_nested_letter_is_one_letter(record: Record, facts: DeadLetterFacts) -> None:
    inner = stored(write_letter(record, facts))

    outer = letter_of(stored(write_letter(inner, replace(facts, group_id="other"))))

    assert outer.record == inner
    assert letter_of(outer.record).record == record


NOTES = st.builds(
    Note,
    kind=st.sampled_from(["replayed", "discarded", "failed"]),
    origin=st.tuples(st.from_regex(r"[a-z.]{1,9}", fullmatch=True), COUNTS, COUNTS),
    timestamp=st.integers(-1, 2**60),
    at=st.integers(0, 4_000_000_000).map(float),
    why=TEXT,
    attempts=COUNTS,
)


@given(NOTES, st.none() | st.binary(max_size=8))
def test_note_gives_back_what_it_says(note: Note, key: bytes | None) -> None:
    written = write_note("group", key, note)

    assert (written.topic, written.key, written.value) == ("group.dlq", key, None)
    assert read_note(stored(written)) == note
    assert read_letter(stored(written)) is None


@given(RECORDS, NOTES)
def test_record_like_a_note_is_a_letter(record: Record, note: Note) -> None:
    forged = record._replace(value=None, headers=tuple(write_note("group", record.key, note).headers))

    for shrink in (0, 1, 2):
        assert letter_of(stored(write_letter(forged, SOME_FACTS, shrink=shrink))).record == forged
    assert letter_of(stored(write_letter(forged, SOME_FACTS, shrink=3))).record.headers == ()


@given(RECORDS, NOTES)
def test_note_and_letter_share_identity(record: Record, note: Note) -> None:
    letter = letter_of(stored(write_letter(record, SOME_FACTS)))
    about = replace(note, origin=letter.origin, timestamp=letter.record.timestamp)

    read = read_note(stored(write_note("group", record.key, about)))

    assert read is not None
    assert read.identity == letter.identity


def test_tombstone_is_not_empty() -> None:
    for value in (None, b""):
        record = Record("t", 0, 0, b"k", value)
        assert letter_of(stored(write_letter(record, SOME_FACTS))).record.value == value


def test_bad_text_costs_its_character() -> None:
    facts = replace(SOME_FACTS, reason="a\ud800b")

    assert letter_of(stored(write_letter(Record("t", 0, 0, b"k", b"v"), facts))).facts.reason == "a?b"


@pytest.mark.parametrize("time", [b"", b"yesterday", b"2026-03-02T12:00:00", b"0001-01-01"])
def test_missing_time_is_the_letters(time: bytes) -> None:
    written = write_letter(Record("t", 0, 0, b"k", b"v"), SOME_FACTS)
    headers = [(name, time if name.endswith("-failure") else value) for name, value in written.headers]

    facts = letter_of(stored(written._replace(headers=headers))).facts

    assert (facts.first_failure, facts.last_failure) == (5.0, 5.0)


def test_topic_is_named_after_the_group() -> None:
    assert dead_letter_topic("orders") == "orders.dlq"


@pytest.mark.parametrize("shrink", [0, 1])
def test_unreadable_headers_stay_marked(shrink: Shrink) -> None:
    record = Record("orders.v1", 3, 33, b"t1", b"{}", UNREADABLE_HEADERS, 1_000)
    written = write_letter(record, SOME_FACTS, shrink=shrink)
    assert ("eventzr-dlq-unreadable", b"headers") in written.headers
    found = letter_of(stored(written)).record
    assert found == record
    assert isinstance(found.headers, UnreadableHeaders)


def test_unreadable_own_headers_are_named() -> None:
    letter = letter_of(Record("g.dlq", 0, 7, b"t1", b"{}", UNREADABLE_HEADERS, 1_000))
    assert letter.origin == ("g.dlq", 0, 7)
    assert "headers cannot be read" in letter.facts.reason


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff"])
def test_unreadable_headers_are_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidEnvelopeError, match="headers: a name is not UTF-8"):
        decode(Record("orders.v1", 3, 33, b"t1", value, UNREADABLE_HEADERS))
