"""How dead letters look: the table of a group, and one letter.

Whatever comes from a record is made printable, and shown with its payload only where that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from eventzr_kafka.cli.card import count_of, labelled
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry, Summary, summarise_letters
from eventzr_kafka.dead_letters.letter import Cut, Letter, Note, dead_letter_topic
from eventzr_kafka.dead_letters.order import LetterChoice
from eventzr_kafka.events.event import format_time
from eventzr_kafka.kafka.record import UnreadableHeaders
from eventzr_kafka.safe_text import printable

__all__ = ["left_out_text", "letter_card", "letter_json", "overview", "overview_json"]

_HEADINGS = ("handler", "type", "error", "letters", "tenants", "oldest", "newest")
_TENANTS = 3  # that are named in the table
_HEADS = 20  # letters that others wait for and that are named


def overview(group_id: str, journal: DeadLetterJournal, found: Sequence[Entry]) -> Text:
    """Letters counted by handler, type and error, and a line with the sums."""
    rows = [_HEADINGS, *map(_row, summarise_letters(found))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        Text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()) for row in rows
    ]
    lines[0].stylize("bold")
    sums = labelled(dead_letter_topic(group_id), _sums(journal, found))
    return Text("\n").join([*lines, sums] if found else [sums])


def _row(summary: Summary) -> tuple[str, ...]:
    tenants = sorted(summary.tenants)
    more = f" and {len(tenants) - _TENANTS} more" if len(tenants) > _TENANTS else ""
    return (
        printable(summary.handler),
        printable(summary.type, limit=249),
        printable(summary.error),
        str(summary.count),
        ", ".join(printable(tenant, limit=40) for tenant in tenants[:_TENANTS]) + more,
        _time(summary.oldest),
        _time(summary.newest),
    )


def _sums(journal: DeadLetterJournal, found: Sequence[Entry]) -> str:
    meant = count_of(len(found), "open letter")
    others = len(journal.open) - len(found)
    parts = [
        f"{meant} of {count_of(len({entry.tenant for entry in found}), 'tenant')}" if found else "no open letters",
        f"{others} open not selected" if others else "",
        f"{len(journal.closed('replayed'))} replayed",
        f"{len(journal.closed('discarded'))} discarded",
        f"{journal.unreadable} unreadable" if journal.unreadable else "",
    ]
    return ", ".join(filter(None, parts))


def left_out_text(chosen: LetterChoice) -> Text:
    """Letters that were selected and have to wait, with the one that they wait for."""
    lines = [
        Text(f"left out: {count_of(number, 'letter')} behind {printable(head.letter.record.position, limit=300)}")
        for head, number in chosen.left_out[:_HEADS]
    ]
    more = chosen.left_out[_HEADS:]
    if more:
        number = sum(behind for _, behind in more)
        lines.append(Text(f"left out: {count_of(number, 'letter')} behind {len(more)} others"))
    lines.append(Text("  these are open and not selected: replay or discard them first", style="dim"))
    return Text("\n").join(lines)


def overview_json(group_id: str, journal: DeadLetterJournal, found: Sequence[Entry]) -> str:
    """The same as one JSON object; the tenants are all there."""
    groups = [
        {
            "handler": summary.handler,
            "type": summary.type,
            "error": summary.error,
            "letters": summary.count,
            "tenants": sorted(summary.tenants),
            "oldest": _time(summary.oldest),
            "newest": _time(summary.newest),
        }
        for summary in summarise_letters(found)
    ]
    sums = {
        "open": len(journal.open),
        "selected": len(found),
        "replayed": len(journal.closed("replayed")),
        "discarded": len(journal.closed("discarded")),
    }
    return json.dumps({"topic": dead_letter_topic(group_id), **sums, "groups": groups})


def letter_card(entry: Entry, full: Letter | None) -> Text:
    """One letter and what became of it.

    Args:
        full: The letter with its payload, to be shown too.
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
    """The same as one JSON object."""
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
    """Bytes as text in which nothing controls a terminal."""
    text = (value or b"").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _time(seconds: float) -> str:
    """A time that was read, and so may be any number."""
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return "?"
