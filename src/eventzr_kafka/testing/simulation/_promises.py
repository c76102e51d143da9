"""Promises about single events, each judged by a watcher of its own, beside the checker's invariants.

1. A dead letter is its record, byte for byte: key, value, and headers in front of those that were added.
2. With ``park_key`` no event of a key runs while the process knows an open letter of that key: one that it wrote, or
   one that was in the topic before it was given the partition. A letter is called parked only if its key has another
   one, or its record an earlier one.
3. An event is tried as often as its policy says, and not sooner: the wait of a policy without jitter, and that of
   `RetryLater`, are lower bounds.
4. A handler's current event is its own; the events that it publishes have its tenant as key and extension.
5. An effect that the database commits is one that a handler of that process has had.
6. Where one event runs at a time, a tenant that is ready sees at most one event of another tenant before its own.

A watcher is a class whose methods ``see_<fact>`` take the time of a fact and its fields.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.testing.simulation._run import Evidence
from eventzr_kafka.testing.simulation._tracking import Place, by_place, origin, words

__all__ = ["watchers"]

_Fail: TypeAlias = Callable[[str, str], None]
_LATER = 0.1  # seconds that the simulation's RetryLater asks for
_CLOSE = 1e-6  # seconds by which sums of floats may differ
_HEADERS = "eventzr-dlq-headers"


def watchers(evidence: Evidence, fail: _Fail) -> Mapping[str, Sequence[Callable[..., None]]]:
    """The methods to call for each kind of fact."""
    found: dict[str, list[Callable[..., None]]] = {}
    for kind in (_LetterCopies, _ParkedKeys, _Attempts, _TenantsInHand, _CommittedEffects, _FairTurns):
        watcher = kind(evidence, fail)
        for name in dir(watcher):
            if name.startswith("see_"):
                found.setdefault(name.removeprefix("see_").replace("_", " "), []).append(getattr(watcher, name))
    return found


class _Logs:
    """The records of a history, and which of them are dead letters."""

    def __init__(self, evidence: Evidence) -> None:
        self._records = {topic: by_place(records) for topic, records in evidence.logs.items()}
        self._groups = {f"{group}.dlq": group for group in evidence.consumed}

    def record(self, place: Place) -> Record | None:
        """The record at a place, unless it has been deleted."""
        return self._records[place[0]][place[1]].get(place[2])

    def letter(self, place: Place) -> tuple[str, Record, Place, dict[str, bytes | None]] | None:
        """Group, letter or note (which has no value), place of the record that failed, and headers; None if neither."""
        group, found = self._groups.get(place[0]), self.record(place)
        if group is None or found is None:
            return None
        headers = dict(found.headers)  # the last of a name is the one that was added
        failed = origin(headers)
        return None if failed is None else (group, found, failed, headers)


class _LetterCopies:
    """Rule 1."""

    def __init__(self, evidence: Evidence, fail: _Fail) -> None:
        self._logs = _Logs(evidence)
        self._fail = fail

    def see_appended(self, _at: float, *place: Any) -> None:
        """A letter equals its record."""
        found = self._logs.letter(place)
        if found is None or found[1].value is None:
            return
        _, letter, failed, headers = found
        record = self._logs.record(failed)
        if record is None:
            return
        count = len(record.headers)
        same = (letter.key, letter.value, tuple(letter.headers[:count])) == (
            record.key,
            record.value,
            tuple(record.headers),
        )
        if not same or headers.get(_HEADERS) != str(count).encode():
            self._fail("a dead letter is its record", f"the letter of {words(failed)} differs from it")


class _ParkedKeys:
    """Rule 2."""

    def __init__(self, evidence: Evidence, fail: _Fail) -> None:
        self._logs = _Logs(evidence)
        self._fail = fail
        self._orderings: dict[str, Ordering] = {
            group: options.ordering
            for group, options in evidence.options.items()
            if options.after_dead_letter == "park_key"
        }
        self._keys: dict[tuple[str, Place], object] = {}
        self._closed: set[tuple[str, Place]] = set()
        self._known: dict[tuple[str, str], set[Place]] = {}

    def see_appended(self, _at: float, *place: Any) -> None:
        """A letter opens its key; a note closes a letter."""
        found = self._logs.letter(place)
        if found is None or found[0] not in self._orderings:
            return
        group, letter, failed, headers = found
        if letter.value is None:
            if headers["eventzr-dlq-note"] in (b"replayed", b"discarded"):
                self._closed.add((group, failed))
            return
        name = (headers.get("eventzr-dlq-ordering-key") or b"").decode()
        ordering = self._orderings[group]
        key: object = letter.key if ordering == "tenant" else name if ordering == "partition" else (letter.key, name)
        keys = {other for (of, _), other in self._keys.items() if of == group}
        if headers.get("eventzr-dlq-error") == b"parked" and key not in keys:
            self._fail("a parked key has a letter", f"{words(failed)} is called parked, and follows no letter")
        self._keys[group, failed] = key

    def see_owns(self, _at: float, name: str, group: str, *_partition: Any) -> None:
        """Note the dead letters that must be read before a record is added."""
        if group in self._orderings:
            known = self._known.setdefault((name, group), set())
            known.update(failed for of, failed in self._keys if of == group)

    def see_hears_of(self, _at: float, name: str, _topic: str, letter: Any, *outcome: Any) -> None:
        """A process knows the letters that it wrote."""
        if letter is not None and letter[0] in self._orderings and outcome[0] != "failed":
            self._known.setdefault((name, letter[0]), set()).add(letter[2])

    def see_begins(self, _at: float, name: str, group: str, epoch: int, *fact: Any) -> None:
        """An event of a key without an open letter runs."""
        if not epoch or group not in self._orderings:
            return
        place, lane = fact[:3], fact[4]
        key = f"{lane[0]}[{lane[1]}]" if self._orderings[group] == "partition" else lane
        for failed in self._known.get((name, group), ()):
            about = (group, failed)
            if failed != place and self._keys.get(about) == key and about not in self._closed:
                self._fail("a parked key waits", f"{name} runs {words(place)} behind the letter of {words(failed)}")

    def see_crashes(self, _at: float, name: str) -> None:
        """Forget what a process knew."""
        for key in [key for key in self._known if key[0] == name]:
            del self._known[key]

    see_ends = see_crashes


class _Attempts:
    """Rule 3."""

    def __init__(self, evidence: Evidence, fail: _Fail) -> None:
        self._logs = _Logs(evidence)
        self._fail = fail
        self._policies = evidence.policies
        self._batched = evidence.batched
        self._calls: Counter[tuple[str, str, int, Place]] = Counter()
        self._runs: dict[tuple[str, int], list[tuple[str, str, int, Place]]] = {}
        self._failed: dict[tuple[str, str, int, Place], tuple[float, str]] = {}

    def see_begins(self, at: float, name: str, group: str, epoch: int, *fact: Any) -> None:
        """Another call: one that the policy allows, and not too soon."""
        if not epoch:
            return
        place, run = fact[:3], fact[3]
        call = (name, group, epoch, place)
        policy, in_batches = self._policies[group, place[0]], (group, place[0]) in self._batched
        self._calls[call] += 1
        self._runs.setdefault((name, run), []).append(call)
        if self._calls[call] > policy.attempts and not in_batches:  # there, it also runs with others that fail
            self._fail("attempts of an event", f"{name} calls {words(place)} for the {self._calls[call]}th time")
        failed = self._failed.get(call)
        if failed is not None and not in_batches:
            soonest = failed[0] + _least_wait(policy, self._calls[call] - 1, failed[1])
            if at < soonest - _CLOSE:
                self._fail("attempts of an event", f"{name} calls {words(place)} {soonest - at:.3f} s too soon")

    def see_breaks_off(self, at: float, name: str, run: int, error: str) -> None:
        """A call has failed."""
        for call in self._runs.get((name, run), ()):
            self._failed[call] = (at, error)

    def see_appended(self, _at: float, *place: Any) -> None:
        """Compare the attempts that a letter names with those of its event."""
        found = self._logs.letter(place)
        if found is None or found[1].value is None:
            return
        group, _, failed, headers = found
        if (group, failed[0]) in self._batched:
            return
        error, attempts = headers["eventzr-dlq-error"], int(headers["eventzr-dlq-attempts"] or b"-1")
        calls = {count for call, count in self._calls.items() if (call[1], call[3]) == (group, failed)}
        if error != b"parked" and attempts and attempts not in calls:
            self._fail("attempts of an event", f"the letter of {words(failed)} counts {attempts}, the calls {calls}")
        wanted = self._policies[group, failed[0]].attempts
        if error in (b"SimulatedHandlerError", b"RetryLater", b"TimeoutError") and attempts != wanted:
            self._fail("attempts of an event", f"{words(failed)} is a letter after {attempts} of {wanted} attempts")


def _least_wait(policy: RetryPolicy, attempt: int, error: str) -> float:
    """Seconds that must lie between an attempt, counted from 1, and the next one."""
    asked = _LATER if error == "RetryLater" else 0.0
    if policy.jitter:
        return asked
    return max(asked, float(min(policy.wait_initial * policy.multiplier ** (attempt - 1), policy.wait_max)))


class _TenantsInHand:
    """Rule 4."""

    def __init__(self, evidence: Evidence, fail: _Fail) -> None:
        self._logs = _Logs(evidence)
        self._fail = fail
        self._consumed = {topic for topics in evidence.consumed.values() for topic in topics}

    def see_in_hand(self, _at: float, name: str, wanted: object, held: object) -> None:
        """A handler was called."""
        if wanted != held:
            self._fail("a handler's own event is in hand", f"{name} has {held} in hand, its event is {wanted}")

    def see_gets_unwanted(self, _at: float, name: str, event_id: str) -> None:
        """A handler was called with an event that its `when` does not want."""
        self._fail("a handler gets what it wants", f"{name} runs {event_id}, which its when= does not want")

    def see_appended(self, _at: float, topic: str, *place: Any) -> None:
        """Check that an event that a handler has published belongs to its tenant."""
        record = self._logs.record((topic, *place))
        if record is None or topic in self._consumed or topic.endswith(".dlq"):
            return
        event = json.loads(record.value or b"{}")
        if event["tenantid"] != (record.key or b"").decode():
            self._fail("a published event has its tenant's key", f"{event['id']} has another one")


class _CommittedEffects:
    """Rule 5."""

    def __init__(self, _evidence: Evidence, fail: _Fail) -> None:
        self._fail = fail
        self._had: set[tuple[str, ...]] = set()

    def see_effect(self, _at: float, name: str, *key: str) -> None:
        """A handler has done its work, in its transaction."""
        self._had.add((name, *key))

    def see_database_commit(self, _at: float, name: str, _marks: object, handled: Any, _rows: object) -> None:
        """The transaction counts."""
        for key in handled:
            if (name, *key) not in self._had:
                self._fail("a mark has its effect", f"{name} commits {key[-1]} in {key[0]}, which had no effect")


class _FairTurns:
    """Rule 6."""

    def __init__(self, evidence: Evidence, fail: _Fail) -> None:
        self._logs = _Logs(evidence)
        self._fail = fail
        self._groups = {
            group
            for group, options in evidence.options.items()
            if (options.max_concurrency, options.ordering, options.after_dead_letter) == (1, "tenant", "continue")
        }
        # What is not an event is not handled, but its tenant waits for its dead letter.
        self._left_out = {
            key
            for topics in evidence.consumed.values()
            for topic in topics
            for key in _keys_without_events(evidence.logs[topic])
        }
        self._queues: dict[tuple[str, str], dict[object, deque[Place]]] = {}
        self._waiting: dict[tuple[str, str], dict[object, Counter[object]]] = {}
        self._running: dict[tuple[str, int], tuple[str, object, Place]] = {}
        self._settled: set[tuple[str, Place]] = set()
        self._blocked: set[tuple[str, str, object]] = set()  # behind a retry or a dead letter, until one is done

    def see_polls(self, _at: float, name: str, group: str, _epoch: int, topic: str, *fact: Any) -> None:
        """Records come in: an idle tenant's first one is ready."""
        if group not in self._groups:
            return
        partition, first, last = fact
        queues, waiting = self._state(name, group)
        running = {lane for (process, _), (of, lane, _) in self._running.items() if (process, of) == (name, group)}
        for offset in range(first, last + 1):
            record = self._logs.record((topic, partition, offset))
            place = (topic, partition, offset)
            if record is None or record.key in self._left_out or (group, place) in self._settled:
                continue
            queue = queues.setdefault(record.key, deque())
            if not queue and record.key not in running and (name, group, record.key) not in self._blocked:
                waiting[record.key] = Counter()
            queue.append(place)

    def see_begins(self, _at: float, name: str, group: str, epoch: int, *fact: Any) -> None:
        """Each other tenant that is ready counts this one."""
        if group not in self._groups or not epoch:
            return
        place, run, lane = fact[:3], fact[3], fact[4]
        queues, waiting = self._state(name, group)
        self._running[name, run] = (group, lane, place)
        if place in queues.get(lane, ()):
            queues[lane].remove(place)
        waiting.pop(lane, None)
        for other, seen in waiting.items():
            seen[lane] += 1
            if seen[lane] > 1:
                front = words(queues[other][0])
                self._fail("tenants take turns", f"{name} begins {words(place)}, again before {front}")

    def see_finishes(self, _at: float, name: str, run: int) -> None:
        """A tenant's next event is ready."""
        group, lane, place = self._running.pop((name, run), ("", None, ("", 0, 0)))
        if group in self._groups:
            self._settled.add((group, place))
            self._blocked.discard((name, group, lane))
            queues, waiting = self._state(name, group)
            if queues.get(lane):
                waiting[lane] = Counter()

    def see_breaks_off(self, _at: float, name: str, run: int, _error: str) -> None:
        """A tenant waits for its own retry or dead letter, and for nothing else."""
        group, lane, _ = self._running.pop((name, run), ("", None, None))
        self._blocked.add((name, group, lane))

    def see_appended(self, _at: float, *place: Any) -> None:
        """An event with a dead letter need not run."""
        found = self._logs.letter(place)
        if found is not None:
            self._settled.add((found[0], found[2]))

    def see_gives_up(self, _at: float, name: str, group: str, *_partition: Any) -> None:
        """Begin anew, since lanes that were ready may be gone."""
        self._queues.pop((name, group), None)
        self._waiting.pop((name, group), None)

    see_lost = see_gives_up

    def see_is_to_stop(self, _at: float, name: str) -> None:
        """Nothing more begins; what runs finishes."""
        for group in self._groups:
            self.see_gives_up(0.0, name, group)

    def see_crashes(self, _at: float, name: str) -> None:
        """All of it is gone."""
        self.see_is_to_stop(0.0, name)
        for key in [key for key in self._running if key[0] == name]:
            del self._running[key]

    see_ends = see_crashes

    def _state(self, name: str, group: str) -> tuple[dict[object, deque[Place]], dict[object, Counter[object]]]:
        key = (name, group)
        return self._queues.setdefault(key, {}), self._waiting.setdefault(key, {})


def _keys_without_events(records: Sequence[Record]) -> set[bytes | None]:
    """The keys under which something stands that is not an event of that tenant."""
    tenants = ((record, f'"tenantid":"{(record.key or b"").decode()}"'.encode()) for record in records)
    return {record.key for record, tenant in tenants if tenant not in (record.value or b"")}
