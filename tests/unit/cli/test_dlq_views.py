"""What `eventzr-kafka dlq` understands and shows, without a broker."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventzr_kafka import Record
from eventzr_kafka.cli.dlq import parse_time
from eventzr_kafka.cli.dlq_replay import ReplayReport
from eventzr_kafka.cli.dlq_views import letter_card, letter_json, overview, overview_json
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.dead_letters.journal import DeadLetterJournal
from eventzr_kafka.dead_letters.letter import PREFIX, DeadLetterFacts, read_letter, write_letter
from eventzr_kafka.dead_letters.order import LetterChoice

HOSTILE = "\x1b[2J\r\n\u202e"
FACTS = DeadLetterFacts(
    group_id="g", handler="H.h", error="E", reason="r", attempts=3, first_failure=1.0, last_failure=2.0, event_id="e1"
)


def stored(record: Record, facts: DeadLetterFacts) -> Record:
    letter = write_letter(record, facts)
    return Record("g.dlq", 0, 4, letter.key, letter.value, tuple(letter.headers), 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-03-02T12:00:00", datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ("2026-03-02T12:00:00Z", datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ("2026-03-02T12:00:00+02:00", datetime(2026, 3, 2, 10, tzinfo=UTC)),
    ],
)
def test_time_is_read_as_iso_8601(text: str, expected: datetime) -> None:
    assert parse_time("--since", text) == expected.timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("2h", 7200), ("2h ago", 7200), ("1.5d", 129_600)]
)
def test_time_is_read_as_so_long_ago(text: str, seconds: float) -> None:
    before = time.time() - seconds
    found = parse_time("--since", text)
    assert found is not None
    assert before <= found <= time.time() - seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2", "h", "-2h", "2026-13-01", "9" * 400 + "d"])
def test_any_other_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse_time("--until", text)


def test_absent_time_option_is_none() -> None:
    assert parse_time("--since", None) is None


def test_records_control_no_terminal() -> None:
    record = Record("t", 0, 1, HOSTILE.encode(), HOSTILE.encode(), ((HOSTILE, HOSTILE.encode()),), 5)
    facts = DeadLetterFacts(
        group_id="g",
        handler=HOSTILE,
        error=HOSTILE,
        reason=HOSTILE,
        attempts=1,
        first_failure=1.0,
        last_failure=1.0,
        event_id=HOSTILE,
    )
    journal = DeadLetterJournal()
    journal.add([stored(record, facts)])
    (entry,) = journal.open
    full = read_letter(stored(record, facts))

    for shown in (overview("g", journal, [entry]).plain, letter_card(entry, full).plain, letter_json(entry, full)):
        assert all(line.isprintable() for line in shown.split("\n"))


def test_value_is_shown_on_request() -> None:
    record = Record("t", 0, 1, b"k", b"4111", (("h", b"4111"),), 5)
    journal = DeadLetterJournal()
    journal.add([stored(record, FACTS)])
    (entry,) = journal.open

    assert "4111" not in letter_card(entry, None).plain + letter_json(entry, None)
    assert json.loads(letter_json(entry, read_letter(stored(record, FACTS))))["value"] == "4111"


def test_odd_values_can_be_shown() -> None:
    for value, shown in ((None, "(a tombstone)"), (b"\xff\x00", r"\xff\x00")):
        letter = stored(Record("t", 0, 1, b"k", value), FACTS)
        journal = DeadLetterJournal()
        journal.add([letter])
        assert json.loads(letter_json(journal.open[0], read_letter(letter)))["value"] == shown


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_timestamp_can_be_shown(timestamp: int) -> None:
    journal = DeadLetterJournal()
    journal.add(
        [Record("g.dlq", 0, 0, b"k", b"v", ((f"{PREFIX}first-failure", b"0001-01-01T00:00:00+23:59"),), timestamp)]
    )

    assert letter_card(journal.open[0], None)
    assert overview("g", journal, journal.open)
    assert json.loads(overview_json("g", journal, journal.open))["open"] == 1


def report_of(count: int) -> ReplayReport:
    """A report of so many dead letters, all of them selected."""
    record = Record("t", 0, 1, b"k", b"v")
    journal = DeadLetterJournal()
    journal.add([stored(record._replace(offset=number), FACTS) for number in range(count)])
    report = ReplayReport()
    report.begin(LetterChoice(journal.open))
    return report


def test_report_counts_what_is_left() -> None:
    report = report_of(14)
    report.counts.update(replayed=3, duplicate=1, failed=1, behind=2, no_handler=2, interrupted=1)
    report.orphans.update({"lost.v1": 2})

    text = report.text().plain

    assert report.is_incomplete
    assert text.splitlines() == [
        "replayed 4 of 14 dead letters",
        "  1 without a call: their events had been replayed already",
        "  left open: 1 failed again",
        "  left open: 2 behind one that failed, of the same ordering key",
        "  left open: 2 without a handler",
        "  left open: 5 not begun",
        "  no handler takes lost.v1: 2 dead letters",
    ]


def test_full_replay_is_complete() -> None:
    report = report_of(2)
    report.counts.update(replayed=1, duplicate=1)

    assert report.text().plain.startswith("replayed 2 of 2 dead letters\n")
    assert not report.is_incomplete
