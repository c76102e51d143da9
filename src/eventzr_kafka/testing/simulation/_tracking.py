"""The checker's records of calls, epochs and processes of a history, and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from eventzr_kafka.kafka.record import Record

__all__ = [
    "Coverage",
    "Ownership",
    "Partition",
    "Place",
    "ProcessState",
    "Run",
    "Verdict",
    "Violation",
    "by_place",
    "offsets",
    "origin",
    "words",
]

Place: TypeAlias = tuple[str, int, int]  # topic, partition, offset
Partition: TypeAlias = tuple[str, int]


class Violation(Exception):  # noqa: N818 -- it is what was found
    """An invariant does not hold.

    Attributes:
        rule: Its name, in few words.
        at: Number of the fact at which it was seen.
    """

    def __init__(self, rule: str, detail: str, at: int) -> None:
        self.rule = rule
        self.detail = detail
        self.at = at
        super().__init__(f"{rule}: {detail}")


Coverage: TypeAlias = Counter[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first violation, if there is one, and the states in which crashes found a process."""

    violation: Violation | None
    coverage: Coverage


@dataclass(slots=True, eq=False)
class Run:
    """A call of a handler."""

    process: str
    group: str
    lanes: dict[Place, object] = field(default_factory=dict[Place, object])
    epochs: dict[Place, int] = field(default_factory=dict[Place, int])
    places: list[Place] = field(default_factory=list[Place])
    keys: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    has_effect: bool = False

    @property
    def words(self) -> str:
        """Its records, for people."""
        return ", ".join(map(words, self.places))


@dataclass(slots=True, eq=False)
class Ownership:
    """One period of owning a partition."""

    process: str
    group: str
    partition: Partition
    ended: bool = False
    leaving: bool = False
    outcomes: Counter[int] = field(default_factory=Counter[int])
    held: set[int] = field(default_factory=set[int])


@dataclass(slots=True)
class ProcessState:
    """The state of a process.

    Attributes:
        rows: Of the outbox, read and not marked.
        unreported: Dead letters that are in the topic, without a report to it.
        stops: It drops what still comes in.
    """

    runs: dict[int, Run] = field(default_factory=dict[int, Run])
    rows: set[int] = field(default_factory=set[int])
    unreported: int = 0
    replays: bool = False
    stops: bool = False

    def met(self, published: set[int]) -> dict[str, bool]:
        """Name the states in which a crash finds it now; of the outbox the given rows are published."""
        return {
            "while a handler ran": any(not run.has_effect for run in self.runs.values()),
            "between effect and mark": any(run.has_effect for run in self.runs.values()),
            "between publish and mark": bool(self.rows & published) or self.unreported > 0,
            "during a replay": self.replays,
        }


def by_place(records: Iterable[Record]) -> dict[int, dict[int, Record]]:
    """Records by partition and offset."""
    found: dict[int, dict[int, Record]] = {}
    for record in records:
        found.setdefault(record.partition, {})[record.offset] = record
    return found


def origin(headers: dict[str, bytes | None]) -> Place | None:
    """Read from a dead letter's headers of which record it is."""
    topic, partition, offset = (headers.get(f"eventzr-dlq-{name}") for name in ("topic", "partition", "offset"))
    if topic is None or partition is None or offset is None:
        return None
    return topic.decode(), int(partition), int(offset)


def offsets(run: Run) -> set[int]:
    """Offsets of a call."""
    return {place[2] for place in run.places}


def words(place: Place) -> str:
    """A place for people."""
    return f"{place[0]}[{place[1]}]@{place[2]}"
