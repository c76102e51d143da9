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

__all__ = ["PEERS_PYTHON", "ROOT", "Contestant", "Result", "compete", "program"]

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv" / "bench" / "bin" / "python"
_SLACK = 30.0  # seconds for starting, joining a group and leaving it


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program under ``benchmarks/contestants``, or its ``peers``, and its arguments.

    Attributes:
        peer: True if it needs the virtual environment of the peers.
        loops: True if it runs on an event loop, so that it is also measured on uvloop.
        args: Options of the program, see ``kit.Task``.
    """

    name: str
    module: str
    peer: bool = False
    loops: bool = False
    args: Mapping[str, object] = field(default_factory=dict[str, object])

    def command(self, brokers: str, loop: str = "asyncio") -> list[str]:
        """Return the command that starts it. uvloop is in both environments."""
        folder = "contestants.peers" if self.peer else "contestants"
        python = str(PEERS_PYTHON) if self.peer else sys.executable
        options = [str(part) for name, value in {**self.args, "loop": loop}.items() for part in (f"--{name}", value)]
        return [python, "-m", f"benchmarks.{folder}.{self.module}", "--brokers", brokers, *options]


@dataclass(slots=True)
class Result:
    """The figures of a contestant, or the reason of its failure.

    Attributes:
        also: Further figures by name, such as ``cpu``: microseconds of the whole process for each event.
        on_uvloop: The main figures on uvloop; empty if it does not run there.
    """

    contestant: Contestant
    figures: list[float] = field(default_factory=list[float])
    also: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    on_uvloop: list[float] = field(default_factory=list[float])
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
            _run_round(result, brokers, number)
            log(f"  {result.contestant.name}: {_last(result)}")
    return results


def _run_round(result: Result, brokers: str, number: int) -> None:
    if result.failure is None:
        found = _run(result.contestant, brokers, "asyncio")
        if isinstance(found, str):
            result.failure = found
        else:
            result.add(found)
    if result.contestant.loops and len(result.on_uvloop) == number:  # it has not failed there
        found = _run(result.contestant, brokers, "uvloop")
        if not isinstance(found, str):
            result.on_uvloop.append(found["figure"])


def _last(result: Result) -> str:
    on_uvloop = f", {result.on_uvloop[-1]:,.2f} on uvloop" if result.on_uvloop else ""
    return f"{result.figures[-1]:,.2f}{on_uvloop}" if result.failure is None else result.failure


def _run(contestant: Contestant, brokers: str, loop: str) -> dict[str, Any] | str:
    """Return the figures of one run, or the reason of its failure."""
    limit = float(str(contestant.args.get("seconds", 5.0))) + _SLACK
    try:
        with program(contestant.command(brokers, loop)) as process:
            output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"no figure within {limit:g} s"
    except OSError as error:
        return f"does not start: {error.strerror}"
    lines = [line for line in output.splitlines() if line.startswith('{"figure"')]
    if process.returncode == 0 and lines:
        figures: dict[str, Any] = json.loads(lines[-1])
        return figures
    last = (errors.strip().splitlines() or ["no figure"])[-1]
    return f"exit code {process.returncode}: {last[:120]}"


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
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{ROOT / 'marketplace-events' / 'src'}"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
