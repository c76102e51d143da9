"""One `eventzr-kafka dlq replay`: reads letters in bounded portions, runs them, and says how it went."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.cli.card import Screen, count_of, labelled
from eventzr_kafka.cli.cut_letters import read_whole, with_values
from eventzr_kafka.cli.dlq_claim import ReplayClaim
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry
from eventzr_kafka.dead_letters.letter import Letter, RecordIdentity, dead_letter_topic, read_letter
from eventzr_kafka.dead_letters.order import LetterChoice
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.engine.replay import BeforeReplay, Replay, ReplayOutcome, ReplayResult
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.deduplication import make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.lifecycle.signals import stopped_by_signals
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ReplayReport", "read_journal", "replay_group", "require_topic"]

_PORTION, _PORTION_BYTES = 2000, 32 * 1024 * 1024  # letters and bytes in memory, about

_Portion: TypeAlias = list[tuple[Entry, Record]]


@dataclass(slots=True)
class ReplayReport:
    """What became of the letters of a replay.

    Attributes:
        orphans: Letters by topic, where no handler takes it.
        selected: The letters to be replayed.
        began: Whether they are known.
    """

    counts: Counter[ReplayOutcome] = field(default_factory=Counter["ReplayOutcome"])
    orphans: Counter[str] = field(default_factory=Counter[str])
    selected: Sequence[Entry] = ()
    began: bool = False
    is_incomplete: bool = False

    def take(self, chosen: LetterChoice) -> Sequence[Entry]:
        """The letters to be replayed; the replay is incomplete if some were left out."""
        self.began, self.is_incomplete = True, bool(chosen.left_out)
        return chosen.letters

    def add(self, replayed: ReplayResult) -> None:
        """Count one letter."""
        self.counts[replayed.outcome] += 1
        if replayed.outcome == "no_handler":
            self.orphans[replayed.entry.letter.record.topic] += 1

    def text(self, selected: int) -> Text:
        """The summary, some lines; sets `is_incomplete` if anything is left open."""
        done = self.counts["replayed"] + self.counts["duplicate"]
        self.is_incomplete = self.is_incomplete or done < selected
        lines = [
            labelled(
                "replayed", f"{done} of {count_of(selected, 'letter')}", "yellow" if self.is_incomplete else "green"
            )
        ]
        twins = self.counts["duplicate"]
        lines += [Text(f"  {twins} without a call: their events had been replayed already")] if twins else []
        lines += [Text(f"  left open: {number} {why}") for why, number in self._left(selected).items() if number]
        lines += [
            Text(f"  no handler takes {printable(topic, limit=249)}: {count_of(number, 'letter')}")
            for topic, number in self.orphans.most_common()
        ]
        return Text("\n").join(lines)

    def _left(self, selected: int) -> Mapping[str, int]:
        counts = self.counts
        return {
            "failed again": counts["failed"],
            "behind one that failed, in the same lane": counts["behind"],
            "without a handler": counts["no_handler"],
            "without their value, which did not fit and is gone from their topic": counts["value_gone"],
            "not begun": selected - counts.total() + counts["interrupted"],
        }


@dataclass(frozen=True, slots=True)
class _State:
    """The letters, and what the group had committed before they were read."""

    journal: DeadLetterJournal
    committed: Mapping[TopicPartition, int]


async def replay_group(
    handler: object,
    choose: Callable[[DeadLetterJournal], Sequence[Entry]],
    settings: KafkaSettings,
    screen: Screen,
    report: ReplayReport,
    *,
    waits: bool,
) -> None:
    """Run letters of the handler's group through it, while no other process does.

    Args:
        choose: Takes the letters out of the journal.
        waits: Whether to wait for another replay to end.

    Raises:
        UsageError: Another process is replaying.
        DeliveryError: A note could not be written.
        TransportError: The letters could not be read.
    """
    definition = definition_of(handler)
    committed: dict[TopicPartition, int] = {}
    topics = [route.topic for route in definition.routes]

    def read() -> DeadLetterJournal:
        committed.update(ConfluentLogReader(settings, definition.group_id).committed(topics))
        return read_journal(settings, definition.group_id)

    def say(line: str) -> None:
        screen.say(Text(line, style="dim"))

    writer = DeadLetterWriter(lambda: ConfluentProducer(settings))
    claim = ReplayClaim(settings, definition.group_id, writer, say)
    try:
        journal = await claim.take(read, waits=waits)
        try:
            report.selected = choose(journal)
            await _replay(handler, _State(journal, committed), claim, writer, settings, screen, report)
        finally:
            await claim.release()
    finally:
        await writer.close()


def read_journal(settings: KafkaSettings, group_id: str) -> DeadLetterJournal:
    """The dead letters of a group, as of now; blocks.

    Raises:
        UsageError: There is no topic.
    """
    journal = DeadLetterJournal()
    for records in require_topic(settings, group_id):
        journal.add(records)
    return journal


def require_topic(settings: KafkaSettings, group_id: str) -> Iterator[list[Record]]:
    """What reads the dead-letter topic of a group; blocks.

    Raises:
        UsageError: There is no topic.
    """
    topic = dead_letter_topic(group_id)
    batches = ConfluentLogReader(settings, group_id).read(topic)
    if batches is None:
        raise UsageError(f"there is no topic {topic}: the group has no dead letters, or its id is another one")
    return batches


async def _replay(
    handler: object,
    state: _State,
    claim: ReplayClaim,
    writer: DeadLetterWriter,
    settings: KafkaSettings,
    screen: Screen,
    report: ReplayReport,
) -> None:
    entries, definition = report.selected, definition_of(handler)
    options = definition.options
    pool = HandlerThreads(options.max_concurrency)
    deduplicator = await make_deduplicator(handler, definition.inbox, ConsumerHooks())
    routes = {route.topic: route for route in bind(handler, definition.routes, options, pool, deduplicator)}
    with _progress(len(entries)) as advance:

        def on_outcome(replayed: ReplayResult) -> None:
            report.add(replayed)
            advance()

        def stop() -> None:
            screen.say(Text("stopping: finishing what runs (a second signal quits at once)", style="dim"))
            replay.stop()

        def lose(why: str) -> None:
            screen.say(labelled("stopping:", f"{why}; finishing what runs", "red"))
            replay.stop()

        replay = Replay(
            definition.group_id,
            routes,
            options,
            writer.write,
            on_outcome,
            before=BeforeReplay(state.journal.replayed_events(), state.committed),
        )
        keeping = asyncio.create_task(claim.keep(lose))
        try:
            with stopped_by_signals(stop):
                await _run(
                    replay,
                    _portions(settings, definition.group_id, entries),
                    partial(read_whole, settings, definition.group_id),
                )
        finally:
            keeping.cancel()
            pool.shutdown()


async def _run(replay: Replay, portions: AsyncGenerator[_Portion], read: Callable[[Letter], Record | None]) -> None:
    async with aclosing(portions):
        async for portion in portions:
            parts = with_values(portion, read, _PORTION_BYTES)
            while (part := await asyncio.to_thread(next, parts, None)) is not None:
                await replay.run(part)
                if replay.is_stopping:
                    return


async def _portions(settings: KafkaSettings, group_id: str, entries: Sequence[Entry]) -> AsyncGenerator[_Portion]:
    """The entries with their records, read again; only one portion is in memory, in the order of the entries."""
    for part in _split(entries):
        found = await asyncio.to_thread(_read_again, settings, group_id, part)
        yield [(entry, found[entry.letter.identity]) for entry in part if entry.letter.identity in found]


def _split(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    size = 0
    for entry in entries:
        if part and (len(part) >= _PORTION or size + entry.size > _PORTION_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry.size
    if part:
        yield part


def _read_again(settings: KafkaSettings, group_id: str, entries: Sequence[Entry]) -> dict[RecordIdentity, Record]:
    """The records of the letters that are still there, by the letters' identities."""
    wanted = {(entry.letter.partition, entry.letter.offset): entry for entry in entries}
    first: dict[int, int] = {}
    for partition, offset in wanted:
        first[partition] = min(offset, first.get(partition, offset))
    found: dict[RecordIdentity, Record] = {}
    batches = ConfluentLogReader(settings, group_id).read(dead_letter_topic(group_id), first) or iter(())
    while wanted and (records := next(batches, None)) is not None:
        found.update({entry.letter.identity: record for entry, record in _found(records, wanted)})
    return found


def _found(records: Sequence[Record], wanted: dict[tuple[int, int], Entry]) -> Iterator[tuple[Entry, Record]]:
    for record in records:
        entry = wanted.pop((record.partition, record.offset), None)
        letter = read_letter(record) if entry is not None else None
        if entry is not None and letter is not None:
            yield entry, letter.record


@contextmanager
def _progress(total: int) -> Generator[Callable[[], None]]:
    """A bar, where a person looks on; what handlers print goes where it would go without it."""
    console = Console(stderr=True)
    seen, shared = console.is_terminal, sys.stdout.isatty()
    with Progress(console=console, disable=not seen, transient=True, redirect_stdout=shared) as progress:
        task = progress.add_task("replaying", total=total)
        yield lambda: progress.advance(task)
