"""``python -m benchmarks [--quick] [--case NAME]… [--rounds N] [--output FILE]``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.broker import run_broker
from benchmarks.cases import Case, all_cases
from benchmarks.contest import ROOT, Contestant, Result, compete, program
from benchmarks.table import changes, find_ours, page, rows

_FEED_SECONDS = 600  # at most; it is ended with its case


def main() -> None:
    """Run the cases, print the table, and write it to its page if all of them ran in full."""
    given = _arguments()
    cases = [case for case in all_cases(quick=given.quick) if not given.case or case.group in given.case]
    text, lines, earlier = "", list[str](), dict[str, Result]()
    committed = _read_committed()
    for case in cases:
        kafka, results = _run(case, given.rounds)
        lines += rows(case, results, earlier)
        earlier[case.title] = find_ours(results)
        text = page(lines, kafka, given.rounds)
        if given.output:  # after each case: half an hour is long
            given.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.stdout.write("\n".join(["\nChanged against the committed page:", *changes(committed, lines), ""]))


def _read_committed() -> str:
    command = ["git", "show", "HEAD:docs/benchmarks.md"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)  # noqa: S603 -- our own
    return found.stdout


def _arguments() -> argparse.Namespace:
    names = sorted({case.group for case in all_cases(quick=True)})
    parser = argparse.ArgumentParser(prog="benchmarks", description="This package against a bare client and its peers.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events: does everything run?")
    parser.add_argument("--case", action="append", choices=names, help="only these; may be repeated")
    parser.add_argument("--rounds", type=int, help="default 5; with --quick 1")
    parser.add_argument("--output", type=Path, help="default docs/benchmarks.md, if all cases run in full")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    if given.output is None and not given.quick and not given.case:
        given.output = ROOT / "docs" / "benchmarks.md"
    return given


def _run(case: Case, rounds: int) -> tuple[str, list[Result]]:
    _log(case.title)
    with run_broker(case.backlog) as kafka, _run_feeder(case, kafka.bootstrap_servers):
        return kafka.description, compete(case.contestants, kafka.bootstrap_servers, rounds, _log)


@contextmanager
def _run_feeder(case: Case, brokers: str) -> Generator[None]:
    if not case.fed:
        yield
        return
    feeder = Contestant("feeder", "feeder", args={"seconds": _FEED_SECONDS})
    with program(feeder.command(brokers)):
        yield


def _log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
