"""Results as one table, with versions and machine."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import confluent_kafka

from benchmarks.cases import OURS, Budget, Case
from benchmarks.contest import PEERS_PYTHON, Result

__all__ = ["changes", "find_ours", "page", "rows"]

_HEAD = "| case | contestant | median | range | on uvloop | CPU µs/event | p99 | ours ÷ this | budget |"
_RULE = "|---|---|--:|--:|--:|--:|--:|--:|---|"
_PEERS = ("faststream", "aiokafka", "kstreams", "uvloop")
_ASK = (
    "import sys; from importlib.metadata import version; print(*(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ')"
)


def rows(case: Case, results: Sequence[Result], earlier: Mapping[str, Result]) -> list[str]:
    """Return one line for each contestant.

    Args:
        earlier: Our results of the cases before, by title.
    """
    ours = find_ours(results)
    return [_row(case, result, ours, results, earlier) for result in results]


def find_ours(results: Sequence[Result]) -> Result:
    """Return our own result."""
    return next(result for result in results if result.contestant.name == OURS)


def _row(case: Case, result: Result, ours: Result, results: Sequence[Result], earlier: Mapping[str, Result]) -> str:
    title = f"{case.title} ({case.unit})" if result is ours else ""
    start = f"| {title} | {result.contestant.name} |"
    if result.median is None:
        return f"{start} failed: {result.failure} | | | | | | |"
    low, high = _number(min(result.figures)), _number(max(result.figures))
    on_uvloop = _number(statistics.median(result.on_uvloop)) if result.on_uvloop else ""
    cpu, p99 = _shown(result, "cpu"), _shown(result, "p99")
    ratio = f"{ours.median / result.median:.2f}" if ours.median and result is not ours else ""
    verdicts = (_verdict(case, budget, ours, results, earlier) for budget in case.budgets) if result is ours else ()
    figures = f"{_number(result.median)} | {low} to {high} | {on_uvloop} | {cpu} | {p99} | {ratio}"
    return f"{start} {figures} | {'; '.join(verdicts)} |"


def _shown(result: Result, name: str) -> str:
    figure = _figure(result, name)
    return "" if figure is None else _number(figure)


def _figure(result: Result, name: str) -> float | None:
    if name == "median":
        return result.median
    return statistics.median(result.also[name]) if name in result.also else None


def _verdict(case: Case, budget: Budget, ours: Result, results: Sequence[Result], earlier: Mapping[str, Result]) -> str:
    rivals = [result for result in results if result.contestant.name in budget.best_of]
    if budget.than in earlier:
        rivals = [earlier[budget.than]]
    figures = [figure for rival in rivals if (figure := _figure(rival, budget.figure))]
    own = _figure(ours, budget.figure)
    if not figures or own is None:
        return "not measured"
    is_lower = case.lower or budget.figure == "cpu"
    ratio = own / (min(figures) if is_lower else max(figures))
    kept = ratio <= budget.times if is_lower else ratio >= budget.times
    name = budget.than or ("FastStream's best" if len(budget.best_of) > 1 else "".join(budget.best_of))
    what = f"{name}, CPU" if budget.figure == "cpu" else name
    note = f" ({budget.note})" if budget.note else ""
    sign, word = "≤" if is_lower else "≥", "kept" if kept else "**missed**"
    return f"{sign} {budget.times:g} of {what}{note}: {ratio:.2f}{_cpu_ratio(budget, ours, rivals)}, {word}"


def _cpu_ratio(budget: Budget, ours: Result, rivals: Sequence[Result]) -> str:
    """The ratio of a rate as the processor time gives it: it is steadier than the rate while other work runs."""
    own, others = _figure(ours, "cpu"), [figure for rival in rivals if (figure := _figure(rival, "cpu"))]
    return f" (by CPU {min(others) / own:.2f})" if own and others and budget.figure == "median" else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def changes(before: str, lines: Sequence[str]) -> list[str]:
    """Compare rows with a page written earlier: rate, CPU and ratio of each contestant, with what they were.

    Args:
        before: The text of the page.
    """
    old, new = _cells(before.splitlines()), _cells(lines)
    found = [_change(*key, old[key], row) if key in old else f"{key[0]}: {key[1]}: new" for key, row in new.items()]
    return [line for line in found if line]


def _cells(lines: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """The cells of each row, by case and contestant, and then by column."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    columns, case = _split(_HEAD), ""
    for line in lines:
        cells = _split(line)
        if cells[:2] == ["case", "contestant"]:
            columns = cells
        elif len(cells) == len(columns) and not cells[0].startswith("---"):
            case = cells[0] or case
            found[case, cells[1]] = dict(zip(columns, cells, strict=True))
    return found


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def _change(case: str, contestant: str, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    parts = [
        f"{column} {old[column]} → {new[column]}{_percent(old[column], new[column])}"
        for column in ("median", "CPU µs/event", "ours ÷ this")
        if old.get(column) != new.get(column) and old.get(column) and new.get(column)
    ]
    return f"{case}: {contestant}: {'; '.join(parts)}" if parts else ""


def _percent(old: str, new: str) -> str:
    try:
        before, now = (float(text.replace(",", "")) for text in (old, new))
    except ValueError:  # a contestant that failed
        return ""
    return f" ({100 * (now - before) / before:+.0f} %)" if before else ""


def page(lines: Sequence[str], kafka: str, rounds: int) -> str:
    """Return the whole page."""
    return "\n".join([*_introduction(kafka, rounds), "", _HEAD, _RULE, *lines, ""])


def _introduction(kafka: str, rounds: int) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}. No figure is typed by hand."
    yield ""
    yield f"- Machine: {_machine()}. It ran other work and the broker at the same time: compare ratios, not rates."
    yield f"- Broker: {kafka}, one node. Unless a row says otherwise: 1,000 tenants, 6 partitions, and the guide's"
    yield "  listing event as our producer writes it (time, datacontenttype, subject). All read the same events."
    yield f"- Versions: Python {platform.python_version()}, {_own_versions()}; peers: {_peer_versions()}."
    yield f"- Contestants run one after another, each in its own process: {rounds} rounds, shown as medians."
    yield "- CPU is the processor time of the whole process with librdkafka's threads."
    yield "  On a busy machine it is more reliable than time."
    yield "- uvloop: the same contestant on that event loop. All other columns are of asyncio's own."
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
