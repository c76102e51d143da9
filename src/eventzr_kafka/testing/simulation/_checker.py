"""Checks what every history must keep to, by its facts and by the logs and tables at its end.

1. Nothing is lost: every record has an outcome in each group that consumes its topic, and all are committed.
2. A commit never passes a record without an outcome, and is never that of a former owner.
3. In an epoch a lane runs one event at a time, in offset order, retries included, and each has one outcome.
4. A dead letter is an outcome from when it is in the topic; an event handled is one from the end of its call, and one
   that `when` skips at once.
5. With an inbox in the database an effect and its mark are there together, once; one in memory lets a process do it
   once. An event that is skipped as a duplicate has had its effect.
6. Every row of the outbox is published, each in its tenant's order at first, and then marked by its bucket's holder.
7. What was acknowledged to a publisher is in the topic. A buffer is never further beyond the bounds of the options than
   by the fetches that were under way.
8. A replay keeps to the rules of `_replays`.
9. No process fails but with an error of the SDK or the database; promises about single events hold, see `_promises`.

It uses nothing of what it checks: of the SDK it knows the shape of a record and the names of headers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from eventzr_kafka.kafka.record import Record
from eventzr_kafka.kafka.transport import MAX_OUTSTANDING
from eventzr_kafka.testing.simulation._promises import watchers
from eventzr_kafka.testing.simulation._replays import Replays
from eventzr_kafka.testing.simulation._rows import Rows
from eventzr_kafka.testing.simulation._run import Evidence
from eventzr_kafka.testing.simulation._tracking import (
    Coverage,
    Ownership,
    Partition,
    Place,
    ProcessState,
    Run,
    Verdict,
    Violation,
    by_place,
    offsets,
    origin,
    words,
)

__all__ = ["check"]

_BESIDES = 500  # bytes that a record in memory costs besides its value, at least


def check(evidence: Evidence) -> Verdict:
    """Judge a history."""
    checker = _Checker(evidence)
    violation: Violation | None = None
    try:
        checker.go_through()
        checker.look_at_the_end()
    except Violation as found:
        violation = found
    return Verdict(violation, checker.coverage)


class _Checker:
    """Goes through the facts once, in order."""

    def __init__(self, evidence: Evidence) -> None:
        self.coverage: Coverage = Counter()
        self._evidence = evidence
        self._at = 0
        self._records = {topic: by_place(records) for topic, records in evidence.logs.items()}
        self._letters_of = {f"{group}.dlq": group for group in evidence.consumed}
        self._processes: dict[str, ProcessState] = {}
        self._members: dict[str, str] = {}
        self._runs: dict[int, Run] = {}
        self._epochs: dict[tuple[str, str, int], Ownership] = {}
        self._owner: dict[tuple[str, Partition], Ownership] = {}
        self._outcomes: dict[tuple[str, Place], set[str]] = {}
        self._busy: dict[tuple[str, str, object], int] = {}
        self._last: dict[tuple[str, str, int, object], int] = {}
        self._committed: dict[tuple[str, Partition], int] = {}
        self._effects: Counter[tuple[str, ...]] = Counter()  # process, or none if in the database; group; event
        self._remembered: set[tuple[str, ...]] = set()
        self._published: list[tuple[str, str]] = []
        self._moving: set[tuple[str, Partition]] = set()
        self._rows = Rows(self._fail)
        self._replays = Replays(evidence.options, evidence.consumed, self._fail)
        self._watchers = watchers(evidence, self._fail)

    def go_through(self) -> None:
        """Every fact."""
        for at, (time, what, *fact) in enumerate(self._evidence.facts):
            self._at = at
            see = _SEES.get(str(what))
            if see is not None:
                see(self, *fact)
            for watch in self._watchers.get(str(what), ()):
                watch(time, *fact)

    def _fail(self, rule: str, detail: str) -> None:
        raise Violation(rule, detail, self._at)

    # Processes

    def _see_starts(self, name: str) -> None:
        self._processes[name] = ProcessState()

    def _see_is_to_stop(self, name: str) -> None:
        self._processes[name].stops = True

    def _see_crashes(self, name: str) -> None:
        process = self._processes[name]
        self.coverage["crashes"] += 1
        self._cover(process)
        self._see_ends(name)

    def _cover(self, process: ProcessState) -> None:
        met = process.met(self._rows.published) | {"during a rebalance": bool(self._moving)}
        self.coverage.update(what for what, is_met in met.items() if is_met)

    def _see_fails(self, name: str, error: str, is_expected: bool) -> None:  # noqa: FBT001 -- a fact
        if not is_expected:
            self._fail("a process fails", f"{name}: {error}")

    def _see_ends(self, name: str) -> None:
        self._processes[name] = ProcessState()
        for key in [key for key in self._busy if key[0] == name]:
            del self._busy[key]
        for epoch in self._epochs.values():
            if epoch.process == name and not epoch.ended:
                epoch.ended = True
                self._moving.add((epoch.group, epoch.partition))

    # Epochs

    def _see_joins_as(self, name: str, _group: str, member: str) -> None:
        self._members[member] = name

    def _see_owns(self, name: str, group: str, number: int, topic: str, partition: int, _position: int | None) -> None:
        epoch = Ownership(name, group, (topic, partition))
        self._epochs[name, group, number] = epoch
        self._owner[group, (topic, partition)] = epoch
        self._moving.discard((group, (topic, partition)))

    def _see_polls(self, name: str, group: str, number: int, topic: str, partition: int, first: int, last: int) -> None:
        epoch = self._epochs[name, group, number]
        new = {at for at in range(first, last + 1) if not self._outcomes.get((group, (topic, partition, at)))}
        epoch.held |= new  # the commit of a former owner may name finished offsets above it
        if not self._processes[name].stops:
            self._require_bounds(name, group)

    def _require_bounds(self, name: str, group: str) -> None:
        """Fetches that are under way when the intake is to stop come in all the same."""
        options, under_way = self._evidence.options[group], MAX_OUTSTANDING * self._evidence.fetch
        sizes = sorted((self._size_of(place) for place in self._held_by(name, group)), reverse=True)
        if len(sizes) >= options.max_buffered_events + under_way:
            self._fail("a buffer is out of its bounds", f"{name} holds {len(sizes)} records of {group}")
        if sum(sizes[under_way:]) >= options.max_buffered_bytes:
            self._fail("a buffer is out of its bounds", f"{name} holds {sum(sizes)} bytes of {group}")

    def _held_by(self, name: str, group: str) -> Iterator[Place]:
        for epoch in self._epochs.values():
            if epoch.process == name and epoch.group == group and not epoch.ended:
                yield from ((*epoch.partition, offset) for offset in epoch.held)

    def _size_of(self, place: Place) -> int:
        record = self._records[place[0]][place[1]].get(place[2])
        return len(record.value or b"") + _BESIDES if record is not None else 0

    def _see_gives_up(self, name: str, group: str, number: int, topic: str, partition: int) -> None:
        self._epochs[name, group, number].leaving = True
        self._moving.add((group, (topic, partition)))

    def _see_gave_up(self, name: str, group: str, number: int, _topic: str, _partition: int) -> None:
        self._epochs[name, group, number].ended = True

    def _see_lost(self, name: str, group: str, *fact: Any) -> None:
        if len(fact) == 3:  # the service's own fact, not the broker's
            self._epochs[name, group, fact[0]].ended = True
            self._moving.add((group, (fact[1], fact[2])))

    def _see_stores(self, name: str, group: str, number: int, topic: str, partition: int, offset: int) -> None:
        epoch = self._epochs[name, group, number]
        if epoch.ended:
            self._fail("a former owner commits", f"{name} stores {topic}[{partition}]@{offset} of an ended epoch")
        self._require_outcomes(group, (topic, partition), offset, f"{name} stores")

    def _see_committed(self, group: str, member: str, topic: str, partition: int, offset: int) -> None:
        where = (group, (topic, partition))
        name = self._members.get(member) or self._members[member.rpartition(".")[0]]  # its second life is "….2"
        owner = self._owner.get(where)
        if owner is None or owner.process != name:
            self._fail("a former owner commits", f"{name} commits {topic}[{partition}]@{offset} of another's partition")
        self._require_outcomes(group, (topic, partition), offset, f"{name} commits")
        self._committed[where] = offset

    def _require_outcomes(self, group: str, partition: Partition, offset: int, who: str) -> None:
        before = self._committed.get((group, partition), 0)
        for at in range(before, offset):
            place = (*partition, at)
            if at in self._records[partition[0]][partition[1]] and not self._outcomes.get((group, place)):
                self._fail("a commit passes unfinished work", f"{who} {offset}, but {words(place)} has no outcome")

    # Calls

    def _see_begins(self, name: str, group: str, epoch: int, *fact: Any) -> None:
        topic, partition, offset, number_of_run, lane, *event = fact
        run = self._runs.get(number_of_run)
        if run is None:
            run = self._runs[number_of_run] = Run(name, group)
            self._processes[name].runs[number_of_run] = run
        place = (topic, partition, offset)
        run.places.append(place)
        run.epochs[place] = epoch
        run.lanes[place] = lane
        run.keys.append((group, *event))
        if self._processes[name].replays:
            self._replays.call(name, group, place)
        elif epoch:
            self._require_turn(run, number_of_run, lane, place)

    def _require_turn(self, run: Run, number: int, lane: object, place: Place) -> None:
        epoch = self._epochs[run.process, run.group, run.epochs[place]]
        if epoch.ended or epoch.leaving:
            self._fail("a former owner runs", f"{run.process} begins {words(place)} of a partition it has given up")
        other = self._busy.setdefault((run.process, run.group, lane), number)
        if other != number:
            self._fail("order in a lane", f"{run.process} begins {words(place)} while {self._runs[other].words} runs")
        if epoch.outcomes[place[2]]:
            self._fail("more than one outcome", f"{run.process} begins {words(place)} again, which has its outcome")
        self._require_order(run, lane, place)

    def _require_order(self, run: Run, lane: object, place: Place) -> None:
        key = (run.process, run.group, run.epochs[place], (place[0], lane))
        last = self._last.get(key)
        epoch = self._epochs[run.process, run.group, run.epochs[place]]
        if last is not None and place[2] < last:
            self._fail("order in a lane", f"{run.process} begins {words(place)} after offset {last} of its lane")
        if last is not None and place[2] > last and not epoch.outcomes[last] and last not in offsets(run):
            self._fail("order in a lane", f"{run.process} begins {words(place)} before offset {last} has its outcome")
        self._last[key] = place[2]

    def _see_effect(self, name: str, group: str, *event: str) -> None:
        for run in self._processes[name].runs.values():
            if (group, *event) in run.keys:
                run.has_effect = True
        if group in self._evidence.inboxes:
            return  # it counts when it is committed
        self._effects[name, group, *event] += 1
        if (name, group, *event) in self._remembered:
            self._fail("an effect is there twice", f"{name} repeats that of {event[-1]} in {group}")

    def _see_breaks_off(self, name: str, number: int, _error: str) -> None:
        run = self._leave(name, number)
        for place in sorted(run.places, reverse=True):
            epoch = self._epochs.get((name, run.group, run.epochs[place]))
            if epoch is not None and not epoch.outcomes[place[2]]:  # whatever of a batch failed may run again by itself
                self._last[name, run.group, run.epochs[place], (place[0], run.lanes[place])] = place[2]

    def _leave(self, name: str, number: int) -> Run:
        run = self._runs[number]
        self._processes[name].runs.pop(number, None)
        for key in [key for key, busy in self._busy.items() if busy == number]:
            del self._busy[key]
        return run

    def _see_finishes(self, name: str, number: int) -> None:
        run = self._leave(name, number)
        self._finish_all(run, run.places)

    def _see_finishes_part(self, _name: str, number: int, places: Any) -> None:
        self._finish_all(self._runs[number], places)

    def _finish_all(self, run: Run, places: Any) -> None:
        who = "" if run.group in self._evidence.inboxes else run.process
        for place, key in zip(run.places, run.keys, strict=True):
            if place not in places:
                continue
            if not self._effects[who, *key]:
                self._fail("a duplicate had no effect", f"{run.process} is done with {words(place)}, {key[-1]}")
            if run.group in self._evidence.remembering:
                self._remembered.add((who, *key))
            if self._processes[run.process].replays:
                self._replays.finish(run.process, place)
            else:
                self._finish(run, place)

    def _finish(self, run: Run, place: Place) -> None:
        self._count_outcome("done", run.process, run.group, run.epochs[place], place)

    def _see_skips(self, name: str, group: str, number: int, *place: Any) -> None:
        self._count_outcome("skipped", name, group, number, place)

    def _count_outcome(self, outcome: str, name: str, group: str, number: int, place: Any) -> None:
        self._outcomes.setdefault((group, place), set()).add(outcome)
        epoch = self._epochs.get((name, group, number))
        if epoch is not None:
            if epoch.outcomes[place[2]]:
                self._fail("more than one outcome", f"{name} finishes {words(place)}, which has its outcome")
            epoch.outcomes[place[2]] += 1
            epoch.held.discard(place[2])

    # Dead letters, and what is published

    def _see_appended(self, topic: str, partition: int, offset: int) -> None:
        record = self._records[topic][partition].get(offset)
        if record is None:
            return
        group = self._letters_of.get(topic)
        if group is not None:
            self._notice_letter(group, record)
        else:
            self._rows.appended(record)

    def _notice_letter(self, group: str, record: Record) -> None:
        headers = dict(record.headers)
        place = origin(headers)
        if place is None:
            return
        if record.value is None and "eventzr-dlq-note" in headers:
            self._replays.note(group, record, place)
            return
        self._replays.letter(group, record, place)
        self._outcomes.setdefault((group, place), set()).add("dead letter")
        owner = self._owner.get((group, place[:2]))
        if owner is not None:
            self._processes[owner.process].unreported += 1

    def _see_hears_of(self, name: str, _topic: str, letter: tuple[str, int, Place] | None, *result: Any) -> None:
        """The epoch that wrote a dead letter knows now that it is there."""
        if letter is None or result[0] == "failed":
            return
        process = self._processes[name]
        process.unreported = max(0, process.unreported - 1)
        group, number, origin = letter
        epoch = self._epochs.get((name, group, number))
        if epoch is not None:
            epoch.outcomes[origin[2]] += 1
            epoch.held.discard(origin[2])

    def _see_published(self, _name: str, topic: str, event_id: str) -> None:
        self._published.append((topic, event_id))

    # The database

    def _see_database_commit(
        self,
        _name: str,
        _marks: tuple[tuple[str, ...], ...],  # one without its effect is seen when the event is skipped
        handled: tuple[tuple[str, ...], ...],
        rows: tuple[tuple[int, str, str, str], ...],
    ) -> None:
        for key in handled:
            self._effects["", *key] += 1
            if self._effects["", *key] > 1:
                self._fail("an effect is there twice", f"event {key[-1]} in {key[0]}")
        self._rows.commit(rows)

    def _see_reads_rows(self, name: str, rows: tuple[tuple[int, str], ...]) -> None:
        self._rows.read(name, rows, self._processes[name])

    def _see_marks_rows(self, name: str, rows: tuple[int, ...]) -> None:
        self._rows.marked(name, rows, self._processes[name])

    # Replays

    def _see_replays(self, name: str, group: str, count: int) -> None:
        self._processes[name].replays = True
        self._replays.begin(name, group, count)

    def _see_letter(self, name: str, outcome: str, *place: Any) -> None:
        self._replays.report(name, outcome, place)

    def _see_has_replayed(self, name: str, _group: str) -> None:
        self._replays.end(name)

    # The end

    def look_at_the_end(self) -> None:
        """Check what must be there when all is calm."""
        self._at = len(self._evidence.facts)
        for group, topics in self._evidence.consumed.items():
            for record in (record for topic in topics for record in self._evidence.logs[topic]):
                if not self._outcomes.get((group, record[:3])):
                    self._fail("an event is lost", f"{record.position} has no outcome in {group}")
        if self._evidence.problem is not None:
            self._fail("it does not come to its end", self._evidence.problem)
        for topic, event_id in self._published:
            if not any(event_id.encode() in (record.value or b"") for record in self._evidence.logs[topic]):
                self._fail("an event is lost", f"{event_id} was acknowledged and is not in {topic}")
        unpublished = {row.id for row in self._evidence.rows} - self._rows.published
        if unpublished:
            self._fail("a row is not published", f"row {min(unpublished)}")


_SEES: dict[str, Callable[..., None]] = {
    name.removeprefix("_see_").replace("_", " "): see for name, see in vars(_Checker).items() if name[:5] == "_see_"
}
