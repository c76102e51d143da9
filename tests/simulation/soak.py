"""`make simulate SEEDS=…`: many histories of every service, and what they met, written to docs/simulation.md."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tests.simulation.mutants import MUTANTS
from tests.simulation.services import SERVICES

from eventzr_kafka.testing.simulation import SimulationFailedError, SimulationReport, simulate

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
MET = (
    "while a handler ran",
    "between effect and mark",
    "between publish and mark",
    "during a rebalance",
    "during a replay",
)
LEAST = 100
MUTANT_HISTORIES = 1_000


def main() -> None:
    """Run, and write the page; ends with an error at the first violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="histories in all")
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    report, rows = SimulationReport(), list[str]()
    share = -(-options.seeds // len(SERVICES))
    for service in SERVICES:
        part = simulate(service, seed=options.first, histories=share, processes=options.processes)
        rows.append(row(service.__name__, part))
        report.add(part)
        print(rows[-1], flush=True)
    took = f"{time.monotonic() - began:.0f} s with {options.processes} processes, "
    took += f"{processor_time() / report.histories * 1000:.1f} ms of processor time for each history"
    rows.append(row("all", report))
    print(rows[-1], took)
    caught = [catch(number) for number in range(len(MUTANTS))]
    PAGE.write_text(page(rows, caught, took))
    missing = [what for what in MET if report.coverage[what] < min(LEAST, options.seeds // 200)]
    assert not missing, f"met too seldom: {missing}"


def catch(number: int) -> str:
    """One row: a mutant, and the history that saw it."""
    mutant = list(MUTANTS)[number]
    try:
        with mutant.broken():
            simulate(mutant.service, histories=MUTANT_HISTORIES)
    except SimulationFailedError as error:
        found = f"| {mutant.name} | {mutant.service.__name__} | {error.seed + 1} | {error.rule} |"
        print(found, flush=True)
        return found
    raise AssertionError(f"not caught within {MUTANT_HISTORIES} histories: {mutant.name}")


def row(name: str, report: SimulationReport) -> str:
    """One row of the table of coverage."""
    counts = " | ".join(f"{report.coverage[what]:,}" for what in ("crashes", *MET))
    return f"| {name} | {report.histories:,} | {report.steps:,} | {counts} |"


def processor_time() -> float:
    """Seconds that this process and those that it has started have used so far."""
    return sum(os.times()[:4])


def page(rows: list[str], caught: list[str], took: str) -> str:
    """The page of the last run."""
    head = " | ".join(("service", "histories", "steps", "crashes", *MET))
    return "\n".join(
        [
            "# Simulated histories",
            "",
            "Written by `make simulate` after a run without a violation. No figure is typed by hand.",
            "What it checks: [Simulating crashes](testing.md#simulating-crashes).",
            "",
            f"No violation. {took}.",
            "",
            f"| {head} |",
            "|" + " --- |" * (4 + len(MET)),
            *rows,
            "",
            "The columns from the fifth on count the crashes that hit a process at that moment.",
            "",
            "## Deliberate faults",
            "",
            "| fault | service | caught in history | by the rule |",
            "| --- | --- | --- | --- |",
            *caught,
            "",
        ]
    )


if __name__ == "__main__":
    main()
