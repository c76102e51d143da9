"""Runs contestants in turn, each in its own process, which is killed when its time is over."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PEERS_PYTHON", "Contestant", "Result", "compete", "program"]

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv" / "bench" / "bin" / "python"
_SLACK = 30.0  # seconds for starting, joining a group and leaving it


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program under ``benchmarks/contestants``, or its ``peers``, and its arguments.

    Attributes:
        peer: True if it needs the virtual environment of the peers.
        args: Options of the program, see ``kit.Task``.
    """

    name: str
    module: str
    peer: bool = False
    args: Mapping[str, object] = field(default_factory=dict[str, object])

    def command(self, brokers: str) -> list[str]:
        """Return the command that starts it."""
        python, folder = (str(PEERS_PYTHON), "contestants.peers") if self.peer else (sys.executable, "contestants")
        options = [str(part) for name, value in self.args.items() for part in (f"--{name}", value)]
        return [python, "-m", f"benchmarks.{folder}.{self.module}", "--brokers", brokers, *options]


@dataclass(slots=True)
class Result:
    """The figures of a contestant, or the reason of its failure."""

    contestant: Contestant
    figures: list[float] = field(default_factory=list[float])
    also: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    failure: str | None = None

    @property
    def median(self) -> float | None:
        """The median figure; None after a failure."""
        return statistics.median(self.figures) if self.figures and self.failure is None else None

    def add(self, line: dict[str, Any]) -> None:
        """Add the figures of one round."""
        self.figures.append(line["figure"])
        for name, value in line["also"].items():
            self.also.setdefault(name, []).append(value)


def compete(contestants: Sequence[Contestant], brokers: str, rounds: int, log: Callable[[str], None]) -> list[Result]:
    """Run all contestants once a round. Each round begins with another one; one that fails is left out from then on."""
    results = [Result(contestant) for contestant in contestants]
    for number in range(rounds):
        first = number % len(results)
        for result in results[first:] + results[:first]:
            if result.failure is None:
                _run(result, brokers)
                log(f"  {result.contestant.name}: {_last(result)}")
    return results


def _last(result: Result) -> str:
    return f"{result.figures[-1]:,.2f}" if result.failure is None else result.failure


def _run(result: Result, brokers: str) -> None:
    command = result.contestant.command(brokers)
    limit = float(str(result.contestant.args.get("seconds", 5.0))) + _SLACK
    try:
        with program(command) as process:
            output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        result.failure = f"no figure within {limit:g} s"
    except OSError as error:
        result.failure = f"does not start: {error.strerror}"
    else:
        _read(result, output, errors, process.returncode)


def _read(result: Result, output: str, errors: str, code: int) -> None:
    lines = [line for line in output.splitlines() if line.startswith('{"figure"')]
    if code == 0 and lines:
        result.add(json.loads(lines[-1]))
    else:
        last = (errors.strip().splitlines() or ["no figure"])[-1]
        result.failure = f"exit code {code}: {last[:120]}"


@contextmanager
def program(command: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    """Start a process in its own process group, and kill the group after the block."""
    process = subprocess.Popen(  # noqa: S603 -- our own programs
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
