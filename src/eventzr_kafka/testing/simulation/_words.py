"""A history in words: who polled, ran, crashed, committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eventzr_kafka.testing.simulation._history import Fact
from eventzr_kafka.testing.simulation._plan import Fault, Plan

__all__ = ["plan_in_words", "told"]

_MOST_LINES = 120


def told(facts: Sequence[Fact], *, until: int) -> list[str]:
    """One line for each fact that matters, up to the one at which the violation was seen; the last ones if too many."""
    lines = [f"{fact[0]:7.3f} s  {line}" for fact in facts[: until + 1] if (line := _line(fact)) is not None]
    left_out = len(lines) - _MOST_LINES
    return lines if left_out <= 0 else [f"… {left_out} lines before", *lines[-_MOST_LINES:]]


def _line(fact: Fact) -> str | None:
    say = _SAYS.get(str(fact[1]))
    return say(*fact[2:]) if say is not None else None


def _place(topic: str, partition: int, offset: int) -> str:
    return f"{topic}[{partition}]@{offset}"


def _begins(name: str, _group: str, epoch: int, *rest: Any) -> str:
    topic, partition, offset, run, lane, _source, event_id = rest
    tenant = (lane if isinstance(lane, bytes) else str(lane).encode()).decode()
    return f"{name} runs {_place(topic, partition, offset)} ({event_id} of {tenant}), call {run}, epoch {epoch}"


def _lost(name: str, _group: str, *rest: Any) -> str | None:
    return f"{name} has lost {rest[1]}[{rest[2]}], epoch {rest[0]}" if len(rest) == 3 else None


def _hears(name: str, topic: str, letter: Any, *told: Any) -> str:
    what = f"the dead letter of {_place(*letter[2])}" if letter else f"a record in {topic}"
    return f"{name} hears of {what}: " + (told[1] if told[0] == "failed" else f"at {told[0]}@{told[1]}")


def _database_commit(name: str, marks: Sequence[Any], handled: Sequence[Any], rows: Sequence[Any]) -> str:
    parts = [f"mark {key[2]}" for key in marks] + [f"effect of {key[2]}" for key in handled]
    return f"{name} commits in the database: " + ", ".join(parts + [f"row {row[0]}" for row in rows])


_SAYS: dict[str, Callable[..., str | None]] = {
    "starts": lambda name: f"{name} starts",
    "ends": lambda name: f"{name} has ended",
    "fails": lambda name, error: f"{name} fails: {error}",
    "crashes": lambda name: f"{name} CRASHES",
    "calm": lambda: "from here on nothing fails",
    "brokers": lambda how: f"the brokers are {how}",
    "database": lambda how: f"the database is {how}",
    "appended": lambda topic, partition, offset: f"{_place(topic, partition, offset)} is in the log",
    "isolated": lambda _group, member: f"{member} is cut off",
    "healed": lambda _group, member: f"{member} is connected again",
    "expelled": lambda _group, member: f"{member} is expelled from the group",
    "joins as": lambda name, group, member: f"{name} joins {group} as {member}",
    "owns": lambda name, _g, epoch, topic, partition, at: f"{name} owns {topic}[{partition}] from {at}, epoch {epoch}",
    "polls": lambda name, _g, _e, topic, partition, a, b: f"{name} polls {topic}[{partition}]@{a} to {b}",
    "gives up": lambda name, _g, epoch, topic, partition: f"{name} is to give up {topic}[{partition}], epoch {epoch}",
    "gave up": lambda name, _g, epoch, topic, partition: f"{name} has given up {topic}[{partition}], epoch {epoch}",
    "lost": _lost,
    "pauses": lambda name, _g: f"{name} pauses the intake",
    "resumes": lambda name, _g: f"{name} resumes the intake",
    "stores": lambda name, _g, _e, topic, partition, at: f"{name} stores {_place(topic, partition, at)}",
    "committed": lambda _g, member, topic, partition, at: f"{member} commits {_place(topic, partition, at)}",
    "begins": _begins,
    "effect": lambda name, _g, _source, event_id: f"{name}: effect of {event_id}",
    "finishes": lambda name, run: f"{name} is done with call {run}",
    "breaks off": lambda name, run, error: f"{name}: call {run} breaks off, {error}",
    "hears of": _hears,
    "published": lambda name, topic, event_id: f"{name} has published {event_id} to {topic}",
    "database commit": _database_commit,
    "reads rows": lambda name, rows: f"{name} reads rows " + ", ".join(str(row) for row, _ in rows),
    "marks rows": lambda name, rows: f"{name} marks rows " + ", ".join(map(str, rows)),
    "parks rows": lambda name, rows: f"{name} parks rows " + ", ".join(map(str, rows)),
    "replays": lambda name, group, count: f"{name} replays {count} dead letters of {group}",
    "letter": lambda name, outcome, *origin: f"{name}: the letter of {_place(*origin)} is {outcome}",
}


def plan_in_words(plan: Plan) -> list[str]:
    """What was planned."""
    setting = plan.setting
    head = f"{setting.services} services, {setting.partitions} partitions, {len(plan.events)} events"
    return [head, *_faults(plan.faults)]


def _faults(faults: Iterable[Fault]) -> list[str]:
    return [f"fault: {_fault(fault)}" for fault in faults]


def _fault(fault: Fault) -> str:
    if fault.kind.startswith("handler"):
        return f"{fault.kind}, event-{fault.who}, {fault.amount:g}"
    if fault.kind == "crash at":
        return f"crash of whoever {fault.what!r} for time {fault.amount:g}"
    return f"{fault.kind} at {fault.at:g} s, {fault.who}, {fault.amount:g}"
