"""One `eventzr-kafka dlq replay`: reads dead letters in bounded portions, runs them, and reports the result."""

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
from eventzr_kafka.cli.cut_letters import read_whole, with_values
from eventzr_kafka.cli.dlq_claim import ReplayClaim
from eventzr_kafka.cli.terminal import STOPPING, Terminal, count_of, labelled
from eventzr_kafka.cli.usage import UsageError
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
    """Counts the results of a replay.

    Attributes:
        orphans: Dead letters by topic, where no handler takes the topic.
        selected: The dead letters to be replayed.
        began: True once `selected` is known.
        left_out: True if dead letters were selected that have to wait for others.
    """

    counts: Counter[ReplayOutcome] = field(default_factory=Counter["ReplayOutcome"])
    orphans: Counter[str] = field(default_factory=Counter[str])
    selected: Sequence[Entry] = ()
    began: bool = False
    left_out: bool = False

    def begin(self, chosen: LetterChoice) -> Sequence[Entry]:
        """Note the dead letters to be replayed, and return them."""
        self.began, self.selected, self.left_out = True, chosen.letters, bool(chosen.left_out)
        return self.selected

    def add(self, replayed: ReplayResult) -> None:
        """Count one dead letter."""
        self.counts[replayed.outcome] += 1
        if replayed.outcome == "no_handler":
            self.orphans[replayed.entry.letter.record.topic] += 1

    @property
    def is_incomplete(self) -> bool:
        """True if a dead letter that was meant stays open."""
        return self.left_out or self._done < len(self.selected)

    @property
    def _done(self) -> int:
        return self.counts["replayed"] + self.counts["duplicate"]

    def text(self) -> Text:
        """The summary, several lines."""
        selected = len(self.selected)
        colour = "yellow" if self.is_incomplete else "green"
        lines = [labelled("replayed", f"{self._done} of {count_of(selected, 'dead letter')}", colour)]
        twins = self.counts["duplicate"]
        lines += [Text(f"  {twins} without a call: their events had been replayed already")] if twins else []
        lines += [Text(f"  left open: {number} {why}") for why, number in self._open_by_cause().items() if number]
        lines += [
            Text(f"  no handler takes {printable(topic, limit=249)}: {count_of(number, 'dead letter')}")
            for topic, number in self.orphans.most_common()
        ]
        return Text("\n").join(lines)

    def _open_by_cause(self) -> Mapping[str, int]:
        counts = self.counts
        return {
            "failed again": counts["failed"],
            "behind one that failed, of the same ordering key": counts["behind"],
            "without a handler": counts["no_handler"],
            "without their value, which did not fit and was deleted from their topic": counts["value_gone"],
            "not begun": len(self.selected) - counts.total() + counts["interrupted"],
        }


@dataclass(frozen=True, slots=True)
class _State:
    """The dead letters, and the offsets that the group had committed before they were read."""

    journal: DeadLetterJournal
    committed: Mapping[TopicPartition, int]


async def replay_group(
    handler: object,
    choose: Callable[[DeadLetterJournal], object],
    settings: KafkaSettings,
    terminal: Terminal,
    report: ReplayReport,
    *,
    waits: bool,
) -> None:
    """Run dead letters of the handler's group through it, while no other process does.

    Args:
        choose: Selects dead letters from the journal, and notes them in `report`.
        waits: Wait for the end of another replay; else it is an error.

    Raises:
        UsageError: Another process replays this group.
        DeliveryError: A note could not be written.
        TransportError: The dead letters could not be read.
    """
    definition = definition_of(handler)
    committed: dict[TopicPartition, int] = {}
    topics = [route.topic for route in definition.routes]

    def read() -> DeadLetterJournal:
        committed.update(ConfluentLogReader(settings, definition.group_id).committed(topics))
        return read_journal(settings, definition.group_id)

    writer = DeadLetterWriter(lambda: ConfluentProducer(settings))
    claim = ReplayClaim(settings, definition.group_id, writer, lambda line: terminal.print(Text(line, style="dim")))
    try:
        journal = await claim.take(read, waits=waits)
        try:
            choose(journal)
            await _replay(handler, _State(journal, committed), claim, writer, settings, terminal, report)
        finally:
            await claim.release()
    finally:
        await writer.close()


def read_journal(settings: KafkaSettings, group_id: str) -> DeadLetterJournal:
    """The dead letters of a group, as of now; blocks.

    Raises:
        UsageError: The group has no dead-letter topic.
    """
    journal = DeadLetterJournal()
    for records in require_topic(settings, group_id):
        journal.add(records)
    return journal


def require_topic(settings: KafkaSettings, group_id: str) -> Iterator[list[Record]]:
    """The records of the dead-letter topic of a group, batch by batch; blocks.

    Raises:
        UsageError: The group has no dead-letter topic.
    """
    topic = dead_letter_topic(group_id)
    batches = ConfluentLogReader(settings, group_id).read(topic)
    if batches is None:
        raise UsageError(f"topic {topic} does not exist: the group has no dead letters, or the group id is wrong")
    return batches


async def _replay(
    handler: object,
    state: _State,
    claim: ReplayClaim,
    writer: DeadLetterWriter,
    settings: KafkaSettings,
    terminal: Terminal,
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
            terminal.print(STOPPING)
            replay.stop()

        def lose(why: str) -> None:
            terminal.print(labelled("stopping:", f"{why}; running handlers finish first", "red"))
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
    """The entries with their records, read again, in order; one portion at a time is in memory."""
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
    """The records of the letters that were not deleted, by the identities of the letters."""
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
    """A progress bar if standard error is a terminal; the output of handlers goes where it would go without it."""
    console = Console(stderr=True)
    seen, shared = console.is_terminal, sys.stdout.isatty()
    with Progress(console=console, disable=not seen, transient=True, redirect_stdout=shared) as progress:
        task = progress.add_task("replaying", total=total)
        yield lambda: progress.advance(task)
