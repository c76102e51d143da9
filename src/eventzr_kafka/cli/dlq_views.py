"""Views of dead letters: the table of a group, and a single one.

Texts from a record are made printable; its payload is shown only on request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from eventzr_kafka.cli.terminal import count_of, labelled, table
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry, Summary, summarise_letters
from eventzr_kafka.dead_letters.letter import Cut, Letter, Note, dead_letter_topic
from eventzr_kafka.dead_letters.order import LetterChoice
from eventzr_kafka.events.event import format_time
from eventzr_kafka.kafka.record import UnreadableHeaders
from eventzr_kafka.safe_text import list_some, printable

__all__ = ["left_out_text", "letter_card", "letter_json", "overview", "overview_json"]

_HEADINGS = ("handler", "topic", "error", "letters", "tenants", "oldest", "newest")
_TENANTS = 3  # that are named in the table
_HEADS = 20  # open letters that others wait for and that are named


def overview(group_id: str, journal: DeadLetterJournal, found: Sequence[Entry]) -> Text:
    """Dead letters counted by handler, topic and error, and a line with the totals."""
    lines = table([_row(summary) for summary in summarise_letters(found)], headings=_HEADINGS)
    return Text("\n").join([*lines, labelled(dead_letter_topic(group_id), _totals(journal, found))])


def _row(summary: Summary) -> tuple[str, ...]:
    tenants = sorted(summary.tenants)
    return (
        printable(summary.handler),
        printable(summary.type, limit=249),
        printable(summary.error),
        str(summary.count),
        list_some([printable(tenant, limit=40) for tenant in tenants], most=_TENANTS),
        _time(summary.oldest),
        _time(summary.newest),
    )


def _totals(journal: DeadLetterJournal, found: Sequence[Entry]) -> str:
    selected = count_of(len(found), "open dead letter")
    tenants = count_of(len({entry.tenant for entry in found}), "tenant")
    others = len(journal.open) - len(found)
    parts = [
        f"{selected} of {tenants}" if found else "no open dead letters",
        f"{others} open not selected" if others else "",
        f"{len(journal.closed('replayed'))} replayed",
        f"{len(journal.closed('discarded'))} discarded",
        f"{journal.unreadable} unreadable" if journal.unreadable else "",
    ]
    return ", ".join(filter(None, parts))


def left_out_text(chosen: LetterChoice) -> Text:
    """The selected dead letters that are left out, and the earlier one that each waits for."""
    lines = [
        Text(f"left out: {count_of(number, 'dead letter')} behind {printable(head.letter.record.position, limit=300)}")
        for head, number in chosen.left_out[:_HEADS]
    ]
    more = chosen.left_out[_HEADS:]
    if more:
        number = sum(behind for _, behind in more)
        lines.append(Text(f"left out: {count_of(number, 'dead letter')} behind {len(more)} others"))
    lines.append(Text("  these are open and not selected: replay or discard them first", style="dim"))
    return Text("\n").join(lines)


def overview_json(group_id: str, journal: DeadLetterJournal, found: Sequence[Entry]) -> str:
    """The overview as one JSON object, with all tenants."""
    groups = [
        {
            "handler": summary.handler,
            "topic": summary.type,
            "error": summary.error,
            "letters": summary.count,
            "tenants": sorted(summary.tenants),
            "oldest": _time(summary.oldest),
            "newest": _time(summary.newest),
        }
        for summary in summarise_letters(found)
    ]
    totals = {
        "open": len(journal.open),
        "selected": len(found),
        "replayed": len(journal.closed("replayed")),
        "discarded": len(journal.closed("discarded")),
    }
    return json.dumps({"topic": dead_letter_topic(group_id), **totals, "groups": groups})


def letter_card(entry: Entry, full: Letter | None) -> Text:
    """One dead letter and its state.

    Args:
        full: The letter with its payload, to show that too.
    """
    fields = _fields(entry, full)
    value = fields.pop("value", None)
    lines = [
        Text.assemble((f"{name.replace('_', ' '):<14}", "dim"), str(shown))
        for name, shown in fields.items()
        if shown is not None
    ]
    if value is not None:
        lines.append(Text(value))
    return Text("\n").join(lines)


def letter_json(entry: Entry, full: Letter | None) -> str:
    """One dead letter as a JSON object."""
    return json.dumps(_fields(entry, full))


def _fields(entry: Entry, full: Letter | None) -> dict[str, Any]:
    letter, facts = entry.letter, entry.letter.facts
    return {
        "record": printable(letter.record.position, limit=300),
        "letter": f"{letter.partition}@{letter.offset}",
        "state": _state(entry.closing_note),
        "tenant": printable(entry.tenant),
        "event": None if facts.event_id is None else printable(facts.event_id),
        "handler": printable(facts.handler),
        "error": printable(facts.error),
        "reason": printable(facts.reason, limit=500),
        "cut": None if letter.cut is None else _cut(letter, letter.cut),
        "attempts": entry.attempts,
        "first_failure": _time(facts.first_failure),
        "last_failure": _time(facts.last_failure if entry.failed_note is None else entry.failed_note.at),
        "last_replay": None if entry.failed_note is None else f"failed: {printable(entry.failed_note.why, limit=500)}",
        **({} if full is None else _content(full)),
    }


def _cut(letter: Letter, cut: Cut) -> str:
    also = " and headers are" if cut.headers_too else " is"
    place = printable(letter.record.position, limit=300)
    return f"its value{also} not here: {cut.size:,} bytes, SHA-256 {printable(cut.sha256)}; read it at {place}"


def _state(closed: Note | None) -> str:
    if closed is None:
        return "open"
    why = f": {printable(closed.why, limit=500)}" if closed.why else ""
    return f"{closed.kind} at {_time(closed.at)}{why}"


def _content(letter: Letter) -> dict[str, Any]:
    headers, value = letter.record.headers, letter.record.value
    shown = ", ".join(f"{printable(name)}={_text(content)}" for name, content in headers)
    if isinstance(headers, UnreadableHeaders):
        shown = "(unreadable: a name is not UTF-8)"
    return {"headers": shown, "value": "(a tombstone)" if value is None else _text(value)}


def _text(value: bytes | None) -> str:
    """Bytes as text without characters that control a terminal."""
    text = (value or b"").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _time(seconds: float) -> str:
    """A time from a record, which may be any number; a question mark if no calendar has it."""
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return "?"
