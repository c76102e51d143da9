"""`eventzr-kafka dlq`: list, show, replay and discard the dead letters of a group.

Texts from a record are made printable, because another service wrote them. A payload is shown only on request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from cyclopts import App, Parameter, validators
from rich.text import Text

from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.cli.command import DEFAULT_OUTPUT, FAILED, AsJson, DryRun, Output, Yes, report_declined, run_command
from eventzr_kafka.cli.dlq_replay import ReplayReport, read_journal, replay_group, require_topic
from eventzr_kafka.cli.dlq_views import left_out_text, letter_card, letter_json, overview, overview_json
from eventzr_kafka.cli.durations import DURATION, parse_duration
from eventzr_kafka.cli.loading import load_consumer
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.cli.terminal import Terminal, count_of, labelled
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry, Selection
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter, write_note
from eventzr_kafka.dead_letters.order import choose_letters
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.replay import make_note
from eventzr_kafka.errors import SettingsError
from eventzr_kafka.events.event_data import TOPIC_NAME
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app", "parse_time"]

app = App(name="dlq", group_parameters="Options")

Group: TypeAlias = Annotated[str, Parameter(help="Group id, or module:Class of a consumer of the group.")]

_NOT_FOUND = "no such group or dead letter"
_READ_CODES = f"Exit codes: 0 shown; 1 the broker does not answer; 2 wrong call or configuration, {_NOT_FOUND}."


@Parameter(name="*", group="Filters")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """The dead letters that are selected."""

    tenant: str | None = None
    """Only events of this tenant."""
    topic: str | None = None
    """Only events of this topic."""
    error: str | None = None
    """Only events that failed with this error class."""
    since: str | None = None
    """Only failures at or after this time: ISO 8601, in UTC unless it names a zone; or 30m, 2h, 7d ago."""
    until: str | None = None
    """Only failures at or before this time."""
    letter: tuple[str, ...] = ()
    """Only this dead letter: topic[partition]@offset of its record; can be repeated."""
    limit: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Only the N oldest."""

    def selection(self) -> Selection:
        """These filters as the journal takes them."""
        return Selection(
            tenant=self.tenant,
            type=self.topic,
            error=self.error,
            since=parse_time("--since", self.since),
            until=parse_time("--until", self.until),
            letters=self.letter,
            limit=self.limit,
        )


_ALL = Filters()


def parse_time(option: str, text: str | None) -> float | None:
    """Seconds since the Unix epoch, from ``2026-03-02T12:00:00Z``, ``2026-03-02`` or ``2h``.

    Raises:
        UsageError: The text is neither a time nor a duration.
    """
    if text is None:
        return None
    ago = re.fullmatch(rf"({DURATION})(?:\s+ago)?", text.strip(), re.ASCII)
    if ago is not None:
        return SYSTEM_CLOCK.wall() - parse_duration(ago[1])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{option} {printable(text)!r} is not a time: write 2026-03-02T12:00:00Z, 2026-03-02 or 2h"
        raise UsageError(problem) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


@app.command(help_epilogue=_READ_CODES)
def ls(group: Group, /, *, filters: Filters = _ALL, json: AsJson = False, output: Output = DEFAULT_OUTPUT) -> int:
    """Count open dead letters by handler, topic and error."""

    def act(terminal: Terminal) -> None:
        settings, group_id, selection = KafkaSettings.from_env(), _group_id(group), filters.selection()
        journal = _journal(settings, group_id)
        found = selection.apply(journal.open)
        if json:
            print(overview_json(group_id, journal, found))
        else:
            terminal.print(overview(group_id, journal, found))

    return run_command(output, act)


@app.command(help_epilogue=_READ_CODES)
def show(
    group: Group,
    letter: str,
    /,
    *,
    payload: bool = False,
    json: AsJson = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Show one dead letter and the cause of its failure.

    Args:
        letter: topic[partition]@offset of its record, as in the log; or partition@offset in the dead-letter topic.
        payload: Show the value and the headers of the record too.
    """

    def act(terminal: Terminal) -> None:
        settings, group_id = KafkaSettings.from_env(), _group_id(group)
        for entry in _named(_journal(settings, group_id), letter):
            full = _read_again(settings, group_id, entry) if payload else None
            if json:
                print(letter_json(entry, full))
            else:
                terminal.print(letter_card(entry, full))

    return run_command(output, act)


@app.command(
    help_epilogue="Exit codes: 0 every selected dead letter was replayed; 1 some stay open, or the broker does not "
    "answer; 2 wrong call or configuration, or another process replays this group; 130 a second Ctrl-C."
)
def replay(
    target: str,
    /,
    *,
    filters: Filters = _ALL,
    dry_run: DryRun = False,
    wait: bool = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Run open dead letters through the handlers of their group.

    A dead letter is left out while an earlier one of its ordering key is open and not selected; a line names it.
    Ctrl-C or SIGTERM lets running handlers finish; the next replay continues. One process per group replays at a time.

    Args:
        target: Consumer: module:Class, or module:name of an instance or of a function that makes it.
        wait: Wait for the end of another process's replay.
    """
    report = ReplayReport()

    def act(terminal: Terminal) -> int:
        handler, settings, selection = load_consumer(target), KafkaSettings.from_env(), filters.selection()
        definition = definition_of(handler)
        group_id = definition.group_id

        def take(journal: DeadLetterJournal) -> Sequence[Entry]:
            chosen = choose_letters(journal.open, _existing(selection, journal), definition.options.ordering)
            if chosen.left_out:
                terminal.print(left_out_text(chosen))
            return report.begin(chosen)

        if dry_run:
            journal = _journal(settings, group_id)
            found = take(journal)
            terminal.print(overview(group_id, journal, found))
            terminal.print(labelled("dry run:", f"{count_of(len(found), 'dead letter')} would be replayed", "yellow"))
            return FAILED if report.left_out else 0
        _require_topic(settings, group_id)
        try:
            asyncio.run(replay_group(handler, take, settings, terminal, report, waits=wait))
        finally:
            if report.began:
                terminal.print(report.text())
        return FAILED if report.is_incomplete else 0

    return run_command(output, act)


@app.command(
    help_epilogue="Exit codes: 0 discarded, or nothing to discard; 1 the broker does not answer, or you answered no; "
    f"2 wrong call or configuration, {_NOT_FOUND}."
)
def discard(
    group: Group,
    /,
    *,
    reason: str,
    filters: Filters = _ALL,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = DEFAULT_OUTPUT,
) -> int:
    """Close open dead letters without replaying them.

    Each dead letter may be discarded, also between others of its ordering key; these keep their order.

    Args:
        reason: Reason, recorded in the dead-letter topic.
    """

    def act(terminal: Terminal) -> int:
        if not reason.strip():
            raise UsageError("--reason is empty: write why these dead letters are not needed")
        settings, group_id, selection = KafkaSettings.from_env(), _group_id(group), filters.selection()
        topics = {entry.letter.record.topic for entry in _journal(settings, group_id).open}
        committed = ConfluentLogReader(settings, group_id).committed(topics)
        journal = _journal(settings, group_id)  # after the commits, see `dead_letters.state`
        found = _existing(selection, journal).apply(journal.open)
        terminal.print(overview(group_id, journal, found))
        if dry_run:
            terminal.print(labelled("dry run:", f"{count_of(len(found), 'dead letter')} would be discarded", "yellow"))
        elif not found:
            terminal.print(Text("nothing to discard", style="dim"))
        elif yes or is_agreed(f"Discard {count_of(len(found), 'dead letter')}?"):
            asyncio.run(_discard(settings, group_id, found, committed, reason))
            terminal.print(labelled("discarded", count_of(len(found), "dead letter"), "green"))
        else:
            return report_declined(terminal)
        return 0

    return run_command(output, act)


def _group_id(group: str) -> str:
    group_id = definition_of(load_consumer(group)).group_id if ":" in group else group
    if not TOPIC_NAME.fullmatch(dead_letter_topic(group_id)):
        raise UsageError(f"{printable(group)!r} is neither a group id nor module:Class")
    return group_id


def _journal(settings: KafkaSettings, group_id: str) -> DeadLetterJournal:
    if not settings.enabled:
        raise SettingsError("KAFKA_ENABLED", "is false: there is nothing to read")
    return read_journal(settings, group_id)


def _require_topic(settings: KafkaSettings, group_id: str) -> None:
    """Refuse a group without a dead-letter topic: the claim, which is written first, must not create one."""
    if not settings.enabled:
        raise SettingsError("KAFKA_ENABLED", "is false: there is nothing to read")
    require_topic(settings, group_id)


def _existing(selection: Selection, journal: DeadLetterJournal) -> Selection:
    for name in selection.letters:
        _named(journal, name)
    return selection


def _named(journal: DeadLetterJournal, name: str) -> list[Entry]:
    found = journal.named(name)
    if not found:
        raise UsageError(
            f"no dead letter is named {printable(name)!r}: write topic[partition]@offset or partition@offset"
        )
    return found


def _read_again(settings: KafkaSettings, group_id: str, entry: Entry) -> Letter | None:
    """The letter with its value and headers; None if it was deleted meanwhile."""
    place = entry.letter.partition, entry.letter.offset
    for records in ConfluentLogReader(settings, group_id).read(dead_letter_topic(group_id)) or ():
        for record in records:
            if (record.partition, record.offset) == place:
                return read_letter(record)
    return None


async def _discard(
    settings: KafkaSettings,
    group_id: str,
    entries: Sequence[Entry],
    committed: Mapping[TopicPartition, int],
    reason: str,
) -> None:
    writer, why = DeadLetterWriter(lambda: ConfluentProducer(settings)), printable(reason, limit=500)
    try:
        for start in range(0, len(entries), 500):
            part = entries[start : start + 500]
            notes = [(each.letter.record.key, make_note(each, "discarded", committed, why=why)) for each in part]
            await asyncio.gather(*(writer.write(write_note(group_id, key, note)) for key, note in notes))
    finally:
        await writer.close()
