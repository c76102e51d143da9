"""Results as one table, with versions and machine."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import confluent_kafka

from benchmarks.cases import OURS, Budget, Case
from benchmarks.contest import PEERS_PYTHON, Result

__all__ = ["page", "rows"]

_HEAD = "| case | contestant | median | range | CPU µs/event | p99 | ours ÷ this | budget |"
_RULE = "|---|---|--:|--:|--:|--:|--:|---|"
_PEERS = ("faststream", "aiokafka", "kstreams")
_ASK = (
    "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ')"
)


def rows(case: Case, results: Sequence[Result]) -> list[str]:
    """Return one line for each contestant."""
    ours = next(result for result in results if result.contestant.name == OURS)
    return [_row(case, result, ours, results) for result in results]


def _row(case: Case, result: Result, ours: Result, results: Sequence[Result]) -> str:
    title = f"{case.title} ({case.unit})" if result is ours else ""
    start = f"| {title} | {result.contestant.name} |"
    if result.median is None:
        return f"{start} failed: {result.failure} | | | | | |"
    low, high = _number(min(result.figures)), _number(max(result.figures))
    cpu, p99 = _also(result, "cpu"), _also(result, "p99")
    ratio = f"{ours.median / result.median:.2f}" if ours.median and result is not ours else ""
    verdict = "; ".join(_verdict(case, budget, ours, results) for budget in case.budgets) if result is ours else ""
    return f"{start} {_number(result.median)} | {low} to {high} | {cpu} | {p99} | {ratio} | {verdict} |"


def _also(result: Result, name: str) -> str:
    return _number(statistics.median(result.also[name])) if name in result.also else ""


def _verdict(case: Case, budget: Budget, ours: Result, results: Sequence[Result]) -> str:
    rivals = [r.median for r in results if r.contestant.name in budget.best_of and r.median]
    if not rivals or ours.median is None:
        return "not measured"
    ratio = ours.median / (min(rivals) if case.lower else max(rivals))
    kept = ratio <= budget.times if case.lower else ratio >= budget.times
    name = "FastStream's best" if len(budget.best_of) > 1 else "".join(budget.best_of)
    sign, word = "≤" if case.lower else "≥", "kept" if kept else "**missed**"
    return f"{sign} {budget.times:g} of {name}: {ratio:.2f}, {word}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def page(lines: Sequence[str], kafka: str, rounds: int) -> str:
    """Return the whole page."""
    return "\n".join([*_introduction(kafka, rounds), "", _HEAD, _RULE, *lines, ""])


def _introduction(kafka: str, rounds: int) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}. No figure is typed by hand."
    yield ""
    yield f"- Machine: {_machine()}. It ran other work and the broker at the same time: compare ratios, not rates."
    yield f"- Broker: {kafka}, one node. Unless a row gives other figures: the guide's listing event,"
    yield "  1,000 tenants, 6 partitions."
    yield f"- Versions: Python {platform.python_version()}, {_own_versions()}; peers: {_peer_versions()}."
    yield f"- Contestants run one after another, each in its own process: {rounds} rounds, shown as medians."
    yield "- CPU is the processor time of the whole process with librdkafka's threads."
    yield "  On a busy machine it is more reliable than time."
    yield "- This package runs with its guarantees: at least once, in order per tenant, idempotence, acks=all."
    yield "  The peers run with their defaults, and publish the payload without an envelope."


def _machine() -> str:
    kib = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1])
    return f"{os.cpu_count()} cores, {kib / 2**20:.0f} GiB, {platform.system()} {platform.machine()}"


def _own_versions() -> str:
    names = ("eventzr-kafka", "confluent-kafka", "pydantic", "pydantic-core")
    return ", ".join([f"librdkafka {confluent_kafka.libversion()[0]}", *(f"{name} {_version(name)}" for name in names)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _peer_versions() -> str:
    return ", ".join(_peer_version(name) for name in _PEERS)


def _peer_version(name: str) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 -- our own interpreter
            [PEERS_PYTHON, "-c", _ASK, name], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return f"{name} (not installed)"
    return asked.stdout.strip()
