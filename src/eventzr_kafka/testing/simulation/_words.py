"""A history in words: who polled, ran, crashed, committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eventzr_kafka.testing.simulation._history import Fact
from eventzr_kafka.testing.simulation._plan import Fault, HistoryPlan

__all__ = ["history_in_words", "plan_in_words"]

_MOST_LINES = 120


def history_in_words(facts: Sequence[Fact], *, until: int, most: int = _MOST_LINES) -> list[str]:
    """One line for each fact that matters, up to the one at which the violation was seen; the last ones if too many."""
    lines = [f"{fact[0]:7.3f} s  {line}" for fact in facts[: until + 1] if (line := _line(fact)) is not None]
    left_out = len(lines) - most
    return lines if left_out <= 0 else [f"… {left_out} lines before", *lines[-most:]]


def _line(fact: Fact) -> str | None:
    what = str(fact[1])
    if what in _TELLS:
        return _TELLS[what](*fact[2:])
    return _SAYS[what].format(*fact[2:]) if what in _SAYS else None


def _place(topic: str, partition: int, offset: int) -> str:
    return f"{topic}[{partition}]@{offset}"


def _begins(name: str, _group: str, epoch: int, *rest: Any) -> str:
    topic, partition, offset, run, _lane, tenant, _source, event_id = rest
    return f"{name} runs {_place(topic, partition, offset)} ({event_id} of {tenant}), call {run}, epoch {epoch}"


def _lost(name: str, _group: str, *rest: Any) -> str | None:
    return f"{name} has lost {rest[1]}[{rest[2]}], epoch {rest[0]}" if len(rest) == 3 else None


def _hears(name: str, topic: str, letter: Any, *result: Any) -> str:
    what = f"the dead letter of {_place(*letter[2])}" if letter else f"a record in {topic}"
    return f"{name} hears of {what}: " + (result[1] if result[0] == "failed" else f"at {result[0]}@{result[1]}")


def _database_commit(name: str, marks: Sequence[Any], handled: Sequence[Any], rows: Sequence[Any]) -> str:
    parts = [f"mark {key[-1]}" for key in marks] + [f"effect of {key[-1]}" for key in handled]
    return f"{name} commits in the database: " + ", ".join(parts + [f"row {row[0]}" for row in rows])


def _rows(what: str, name: str, rows: Sequence[int]) -> str:
    return f"{name} {what} rows {', '.join(map(str, rows))}"


_TELLS: dict[str, Callable[..., str | None]] = {
    "lost": _lost,
    "begins": _begins,
    "hears of": _hears,
    "database commit": _database_commit,
    "reads rows": lambda *fact: _rows("reads", fact[0], [row for row, _ in fact[1]]),
    "marks rows": lambda *fact: _rows("marks", *fact),
    "parks rows": lambda *fact: _rows("parks", *fact),
}

_SAYS: dict[str, str] = {
    "starts": "{} starts",
    "is to stop": "{} is to stop",
    "ends": "{} has ended",
    "fails": "{} fails: {}",
    "crashes": "{} CRASHES",
    "calm": "from here on nothing fails",
    "brokers": "the brokers are {}",
    "database": "the database is {}",
    "appended": "{}[{}]@{} is in the log",
    "isolated": "{1} is cut off",
    "healed": "{1} is connected again",
    "expelled": "{1} is expelled from the group",
    "joins as": "{} joins {} as {}",
    "owns": "{0} owns {3}[{4}] from {5}, epoch {2}",
    "polls": "{0} polls {3}[{4}]@{5} to {6}",
    "gives up": "{0} is to give up {3}[{4}], epoch {2}",
    "gave up": "{0} has given up {3}[{4}], epoch {2}",
    "pauses": "{0} pauses the intake of {2}",
    "stores": "{0} stores {3}[{4}]@{5}",
    "committed": "{1} commits {2}[{3}]@{4}",
    "effect": "{0}: effect of {3}",
    "finishes": "{} is done with call {}",
    "finishes part": "{} is done with a part of call {}",
    "skips": "{0} skips {3}[{4}]@{5}, epoch {2}",
    "gets unwanted": "{} runs {}, which its when= does not want",
    "breaks off": "{}: call {} breaks off, {}",
    "published": "{0} has published {2} to {1}",
    "replays": "{0} replays {2} dead letters of {1}",
    "letter": "{0}: the letter of {2}[{3}]@{4} is {1}",
}


def plan_in_words(plan: HistoryPlan) -> list[str]:
    """Describe the plan."""
    setting = plan.setting
    head = f"{setting.services} services, {setting.partitions} partitions, {len(plan.events)} events"
    return [head, *_faults(plan.faults)]


def _faults(faults: Iterable[Fault]) -> list[str]:
    return [f"fault: {_fault(fault)}" for fault in faults]


def _fault(fault: Fault) -> str:
    if fault.kind.startswith("handler"):
        return f"{fault.kind}, event-{fault.who}, {fault.amount:g}"
    if fault.kind == "crash at":
        return f"crash of the process that {fault.what!r} for time {fault.amount:g}"
    return f"{fault.kind} at {fault.at:g} s, {fault.who}, {fault.amount:g}"
