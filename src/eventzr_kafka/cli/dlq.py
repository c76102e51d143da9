"""`eventzr-kafka dlq`: look at the dead letters of a group, replay them, or discard them.

What it shows comes from records that somebody else wrote, so it is made printable; a payload is shown only on request.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.text import Text

from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.cli.app import Output, outcome
from eventzr_kafka.cli.card import Screen, count_of, labelled
from eventzr_kafka.cli.dlq_replay import ReplayReport, read_journal, replay_group, require_topic
from eventzr_kafka.cli.dlq_views import left_out_text, letter_card, letter_json, overview, overview_json
from eventzr_kafka.cli.loading import UsageError, load
from eventzr_kafka.cli.question import is_agreed
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry, Selection
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic, read_letter, write_note
from eventzr_kafka.dead_letters.order import choose_letters
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.replay import make_note
from eventzr_kafka.errors import SettingsError
from eventzr_kafka.events.event import TOPIC_NAME
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["app", "moment"]

app = App(name="dlq", help="Dead letters of a group: count them, look at one, replay or discard them.")

_OUTPUT = Output()
_AGO = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*([smhdw])(?:\s+ago)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_Flag = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which letters are meant."""

    tenant: str | None = None
    """Only this tenant's."""
    type: str | None = None
    """Only events of this type, which is their topic."""
    error: str | None = None
    """Only those that failed with this error class."""
    since: str | None = None
    """Only those that failed at or after this time: ISO 8601, UTC if it names no zone; or 30m, 2h, 7d ago."""
    until: str | None = None
    """Only those that failed at or before this time."""
    letter: tuple[str, ...] = ()
    """Only this letter, by topic[partition]@offset of its record; may be given several times."""
    limit: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """At most so many: the oldest."""

    def selection(self) -> Selection:
        """The same for the journal."""
        return Selection(
            tenant=self.tenant,
            type=self.type,
            error=self.error,
            since=moment("--since", self.since),
            until=moment("--until", self.until),
            letters=self.letter,
            limit=self.limit,
        )


_ALL = Filters()


def moment(option: str, text: str | None) -> float | None:
    """Seconds since the Unix epoch, from ``2026-03-02T12:00:00Z``, ``2026-03-02`` or ``2h``.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return time.time() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{option} {printable(text)!r} is no time: write 2026-03-02T12:00:00Z, 2026-03-02 or 2h"
        raise UsageError(problem) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


@app.command
def ls(group: str, /, *, filters: Filters = _ALL, json: _Flag = False, output: Output = _OUTPUT) -> int:
    """Count the open letters of a group by handler, type and error.

    Args:
        group: Group id, or module:Class whose group it is.
        json: One JSON object in place of the table.
    """

    def act(screen: Screen) -> None:
        settings, group_id, selection = KafkaSettings.from_env(), _group_id(group), filters.selection()
        journal = _journal(settings, group_id)
        found = selection.apply(journal.open)
        if json:
            print(overview_json(group_id, journal, found))
        else:
            screen.say(overview(group_id, journal, found))

    return outcome(output, act)


@app.command
def show(
    group: str,
    letter: str,
    /,
    *,
    payload: _Flag = False,
    json: _Flag = False,
    output: Output = _OUTPUT,
) -> int:
    """Show one letter and why it is there.

    Args:
        group: Group id, or module:Class whose group it is.
        letter: topic[partition]@offset of its record, as the log has it; or partition@offset in the dead-letter topic.
        payload: Show the record's value and headers too.
        json: One JSON object.
    """

    def act(screen: Screen) -> None:
        settings, group_id = KafkaSettings.from_env(), _group_id(group)
        for entry in _named(_journal(settings, group_id), letter):
            full = _read_again(settings, group_id, entry) if payload else None
            if json:
                print(letter_json(entry, full))
            else:
                screen.say(letter_card(entry, full))

    return outcome(output, act)


@app.command
def replay(
    target: str, /, *, filters: Filters = _ALL, dry_run: _Flag = False, wait: _Flag = False, output: Output = _OUTPUT
) -> int:
    """Run open letters through the handlers of their own group; exits with 0 if all were replayed.

    A letter is left out, and named, while an earlier one of its ordering key is open and not selected.
    Ctrl-C or SIGTERM finishes what runs; the next replay goes on with what is open. One process replays at a time.

    Args:
        target: module:Class of the consumer, as for run.
        dry_run: Only count what would be replayed.
        wait: Wait until another process has ended its replay.
    """
    report = ReplayReport()

    def act(screen: Screen) -> None:
        handler, settings, selection = load(target), KafkaSettings.from_env(), filters.selection()
        definition = definition_of(handler)
        group_id = definition.group_id

        def take(journal: DeadLetterJournal) -> Sequence[Entry]:
            chosen = choose_letters(journal.open, _existing(selection, journal), definition.options.ordering)
            if chosen.left_out:
                screen.say(left_out_text(chosen))
            return report.take(chosen)

        if dry_run:
            journal = _journal(settings, group_id)
            found = take(journal)
            screen.say(overview(group_id, journal, found))
            screen.say(labelled("dry run:", f"{count_of(len(found), 'letter')} would be replayed", "yellow"))
            return
        _require_topic(settings, group_id)
        try:
            asyncio.run(replay_group(handler, take, settings, screen, report, waits=wait))
        finally:
            if report.began:
                screen.say(report.text(len(report.selected)))

    return outcome(output, act) or int(report.is_incomplete)


@app.command
def discard(
    group: str,
    /,
    *,
    reason: str,
    filters: Filters = _ALL,
    yes: _Flag = False,
    dry_run: _Flag = False,
    output: Output = _OUTPUT,
) -> int:
    """Close open letters without replaying them; the reason is recorded in the dead-letter topic.

    Any letters may be discarded, also one in the middle of its ordering key: the others keep their order.

    Args:
        group: Group id, or module:Class whose group it is.
        reason: Why nobody needs them.
        yes: Do not ask.
        dry_run: Only count what would be discarded.
    """

    def act(screen: Screen) -> None:
        if not reason.strip():
            raise UsageError("--reason says nothing: write why nobody needs these letters")
        settings, group_id, selection = KafkaSettings.from_env(), _group_id(group), filters.selection()
        topics = {entry.letter.record.topic for entry in _journal(settings, group_id).open}
        committed = ConfluentLogReader(settings, group_id).committed(topics)
        journal = _journal(settings, group_id)  # after the commits, see dead_letter_state
        found = _existing(selection, journal).apply(journal.open)
        screen.say(overview(group_id, journal, found))
        if dry_run:
            screen.say(labelled("dry run:", f"{count_of(len(found), 'letter')} would be discarded", "yellow"))
        elif not found:
            screen.say(Text("nothing to discard", style="dim"))
        elif yes or is_agreed(f"Discard {count_of(len(found), 'letter')}?"):
            asyncio.run(_discard(settings, group_id, found, committed, reason))
            screen.say(labelled("discarded", count_of(len(found), "letter"), "green"))
        else:
            screen.say(Text("nothing was discarded", style="dim"))

    return outcome(output, act)


def _group_id(group: str) -> str:
    group_id = definition_of(load(group)).group_id if ":" in group else group
    if not TOPIC_NAME.fullmatch(dead_letter_topic(group_id)):
        raise UsageError(f"{printable(group)!r} is neither a group id nor module:Class")
    return group_id


def _journal(settings: KafkaSettings, group_id: str) -> DeadLetterJournal:
    if not settings.enabled:
        raise SettingsError("KAFKA_ENABLED", "is false: there is nothing to read")
    return read_journal(settings, group_id)


def _require_topic(settings: KafkaSettings, group_id: str) -> None:
    """A claim is written before anything is read, and must not create the topic."""
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
        raise UsageError(f"there is no letter {printable(name)!r}: write topic[partition]@offset or partition@offset")
    return found


def _read_again(settings: KafkaSettings, group_id: str, entry: Entry) -> Letter | None:
    """The letter with its value and headers; None if it is gone meanwhile."""
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
