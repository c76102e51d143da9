"""The cases: contestants, backlogs and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.broker import Backlog
from benchmarks.contest import Contestant

__all__ = ["OURS", "Budget", "Case", "all_cases"]

OURS = "eventzr-kafka"
BARE = "bare confluent-kafka"
LOOP = "an event loop fed by a thread, no order, no commits"
AIOKAFKA = "aiokafka, send_and_wait"
_KINDS = (
    ("causal", "consume, causal extensions"),
    ("text", "consume, non-ASCII and escaped text"),
    ("mix", "consume, a third causal, a fifth non-ASCII"),
    ("binary", "consume, binary mode"),
)
FASTSTREAM = ("FastStream (confluent)", "FastStream (aiokafka)")


@dataclass(frozen=True, slots=True)
class Budget:
    """A ratio that our figure must reach (or, for a latency and for CPU, not exceed), against the best of some others.

    Attributes:
        best_of: Contestants of the same case.
        than: Title of an earlier case; then the other figure is ours of that case, and `best_of` is empty.
        figure: ``median``, or ``cpu``.
        note: Shown behind the verdict.
    """

    times: float
    best_of: tuple[str, ...] = ()
    than: str = ""
    figure: str = "median"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison; the contestant named `OURS` is measured against the others.

    Attributes:
        fed: True if 200 events a second are published during the run.
        lower: True if less is better.
    """

    group: str
    title: str
    unit: str
    backlog: Backlog
    contestants: tuple[Contestant, ...]
    budgets: tuple[Budget, ...] = ()
    fed: bool = False
    lower: bool = False


def all_cases(*, quick: bool) -> list[Case]:
    """Return every case, the most important first.

    Args:
        quick: A tenth of the events and a second or two of time for each contestant.
    """
    scale = 0.1 if quick else 1.0
    made = [
        _consume(scale),
        *(_kind(scale, kind, title) for kind, title in _KINDS),
        _awaits(scale),
        *_publish(scale),
        _latency(scale),
        _workers(scale, 64, 5, 40_000),
        _workers(scale, 512, 5, 160_000),
        _workers(scale, 512, 50, 60_000),
        _skewed(scale),
        _batch(scale),
        _sync(scale),
        _processes(scale),
        *_growth(scale),
        _memory(scale),
    ]
    return [_quicker(case) for case in made] if quick else made


def _quicker(case: Case) -> Case:
    contestants = tuple(
        replace(one, args={**one.args, "seconds": max(2.0, float(str(one.args["seconds"])) / 3)})
        for one in case.contestants
    )
    return replace(case, contestants=contestants)


def _consumers(events: int, peers: int) -> tuple[Contestant, ...]:
    ours, theirs = {"events": events, "seconds": 10}, {"events": peers, "seconds": 4}
    return (
        Contestant(OURS, "consume_ours", loops=True, args=ours),
        Contestant(BARE, "consume_bare", args=ours),
        Contestant(LOOP, "consume_loop", loops=True, args=ours),
        Contestant(FASTSTREAM[0], "faststream_confluent", peer=True, loops=True, args=theirs),
        Contestant(FASTSTREAM[1], "faststream_aiokafka", peer=True, loops=True, args=theirs),
        Contestant("aiokafka, decoding", "aiokafka_bare", peer=True, loops=True, args=theirs),
        Contestant("kstreams, decoding", "consume_kstreams", peer=True, loops=True, args=theirs),
    )


def _consume(scale: float) -> Case:
    events = int(300_000 * scale)
    budgets = (Budget(0.85, (BARE,)), Budget(5.0, FASTSTREAM))
    contestants = _consumers(events, events // 3)
    return Case("consume", "consume, no-op handler", "events/s", Backlog(events), contestants, budgets)


def _kind(scale: float, kind: str, title: str) -> Case:
    events = int(200_000 * scale)
    budgets = () if kind == "binary" else (Budget(0.8, (BARE,), note="same events"),)
    return Case(kind, title, "events/s", Backlog(events, kind=kind), _two(events, kind=kind), budgets)


def _awaits(scale: float) -> Case:
    events = int(200_000 * scale)
    args = {"events": events, "seconds": 8, "mode": "awaits"}
    contestants = (
        *_two(events, "awaits"),
        Contestant(LOOP, "consume_loop", loops=True, args=args),
    )
    return Case("awaits", "consume, a handler that awaits once", "events/s", Backlog(events), contestants)


def _publish(scale: float) -> list[Case]:
    return [_enqueue(scale, "enqueue"), _gathers(scale), _many(scale), _one_by_one(scale), _enqueue(scale, "binary")]


def _enqueue(scale: float, mode: str) -> Case:
    args = {"events": int(100_000 * scale), "seconds": 8}
    event, payload = f"{BARE}, event + model_dump_json", f"{BARE}, payload's model_dump_json only"
    contestants = (
        Contestant(OURS, "publish_ours", args={**args, "mode": mode}),
        Contestant(event, "publish_bare", args={**args, "mode": "event"}),
        Contestant(payload, "publish_bare", args={**args, "mode": "payload"}),
    )
    budgets = (Budget(1.2, (event,), note="same event"),) if mode == "enqueue" else ()
    title = "publish: enqueue" + (", binary mode" if mode == "binary" else "")
    return Case("publish", title, "events/s", Backlog(0), contestants, budgets)


def _awaiting(ours: int, peers: int, mode: str) -> tuple[Contestant, ...]:
    args = {"events": ours, "seconds": 4, "mode": mode}
    theirs = {"events": peers, "seconds": 4, "mode": "gather" if mode == "many" else mode}
    return (
        Contestant(OURS, "publish_ours", loops=True, args=args),
        Contestant(FASTSTREAM[0], "faststream_confluent", peer=True, loops=True, args=theirs),
        Contestant(FASTSTREAM[1], "faststream_aiokafka", peer=True, loops=True, args=theirs),
        Contestant(AIOKAFKA, "aiokafka_bare", peer=True, loops=True, args=theirs),
    )


def _gathers(scale: float) -> Case:
    contestants = _awaiting(int(60_000 * scale), int(40_000 * scale), "gather")
    budgets = (Budget(0.9, (AIOKAFKA,)), Budget(1.8, FASTSTREAM))
    return Case("publish", "publish: gathers of 500", "events/s", Backlog(0), contestants, budgets)


def _many(scale: float) -> Case:
    contestants = _awaiting(int(150_000 * scale), int(40_000 * scale), "many")
    budgets = (Budget(1.8, (AIOKAFKA,), note="its gathers"), Budget(3.0, FASTSTREAM, note="its gathers"))
    return Case("publish", "publish: publish_many of 500", "events/s", Backlog(0), contestants, budgets)


def _one_by_one(scale: float) -> Case:
    contestants = _awaiting(int(3000 * scale), int(3000 * scale), "single")
    budgets = (Budget(1.3, (AIOKAFKA,)),)
    return Case("publish", "publish: one by one", "events/s", Backlog(0), contestants, budgets)


def _latency(scale: float) -> Case:
    args = {"events": int(600 * scale) + 100, "seconds": 15}
    contestants = (
        Contestant(OURS, "consume_ours", loops=True, args={**args, "mode": "latency"}),
        Contestant(f"{BARE}, poll loop", "latency_bare", args=args),
    )
    budgets = (Budget(1.3, (f"{BARE}, poll loop",)),)
    title = "latency at 200 events/s, p50"
    return Case("latency", title, "ms", Backlog(0), contestants, budgets, fed=True, lower=True)


def _workers(scale: float, workers: int, milliseconds: int, events: int) -> Case:
    events = int(events * scale)
    args = {"events": events, "seconds": 8, "wait": milliseconds / 1000, "workers": workers}
    contestants = (
        Contestant(OURS, "consume_ours", loops=True, args=args),
        Contestant("asyncio workers without Kafka", "workers_bare", loops=True, args=args),
        Contestant(LOOP, "consume_loop", loops=True, args=args),
    )
    budgets = (Budget(0.9, (LOOP,)),)
    title = f"{milliseconds} ms async handler, {workers} at once"
    return Case("workers", title, "events/s", Backlog(events), contestants, budgets)


def _two(events: int, mode: str = "", kind: str = "plain") -> tuple[Contestant, ...]:
    args = {"events": events, "seconds": 8, "kind": kind}
    return (
        Contestant(OURS, "consume_ours", loops=True, args={**args, "mode": mode}),
        Contestant(BARE, "consume_bare", args=args),
    )


def _skewed(scale: float) -> Case:
    events = int(300_000 * scale)
    backlog = Backlog(events, skewed=True)
    return Case("skewed", "one tenant has half of all events", "events/s", backlog, _two(events))


def _batch(scale: float) -> Case:
    events = int(300_000 * scale)
    return Case("batch", "no-op batch handler, 500 events", "events/s", Backlog(events), _two(events, "batch"))


def _sync(scale: float) -> Case:
    events = int(100_000 * scale)
    return Case("sync", "no-op def handler, in threads", "events/s", Backlog(events), _two(events, "sync"))


def _processes(scale: float) -> Case:
    """Make a case whose backlog is larger than the measured part, so that no process runs out of events early."""
    events = int(300_000 * scale)
    args, one = {"events": events, "seconds": 4}, f"{OURS}, one process"
    contestants = (
        Contestant(OURS, "consume_processes", args={**args, "workers": 2}),
        Contestant(one, "consume_processes", args={**args, "workers": 1}),
        Contestant(f"{BARE}, two processes", "consume_processes", args={**args, "workers": 2, "mode": "bare"}),
        Contestant(f"{BARE}, one process", "consume_processes", args={**args, "workers": 1, "mode": "bare"}),
    )
    title = "two processes in one group, no-op handler"
    budgets = (Budget(1.1, (one,), figure="cpu"),)  # the broker shares the cores, so the rate cannot double
    return Case("processes", title, "events/s", Backlog(2 * events), contestants, budgets)


def _growth(scale: float) -> list[Case]:
    events = int(200_000 * scale)
    base = "1,000 tenants, 6 partitions"
    sizes: Sequence[tuple[int, int]]
    sizes = [
        (1000, 6),
        (1, 6),
        (10, 6),
        (100, 6),
        (10_000, 6),
        (1000, 1),
        (1000, 12),
        (1000, 48),
    ]
    budgets = {size: (Budget(1.15, than=base, figure="cpu"),) for size in ((10_000, 6), (1000, 48))}
    return [
        Case(
            "growth",
            f"{size[0]:,} tenants, {size[1]} partitions",
            "events/s",
            Backlog(events, *size),
            _two(events),
            budgets.get(size, ()),
        )
        for size in sizes
    ]


def _memory(scale: float) -> Case:
    events = int(1_000_000 * scale)
    ours = Contestant(OURS, "memory_ours", args={"seconds": 20, "wait": 0.05, "workers": 64})
    return Case("memory", f"RSS growth, {events:,} events wait", "MiB", Backlog(events), (ours,), lower=True)
