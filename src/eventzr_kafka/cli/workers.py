"""`eventzr-kafka run --workers N`: the supervisor, which starts the workers, brings them back, and stops them.

1. It holds neither a Kafka client nor the service's code: the command that has checked both becomes it (`supervise`).
2. Each worker is a process with a link, a socket on which it reports its partitions and hears that it shall stop. A
   worker whose link is closed stops by itself: none outlives the supervisor.
3. The first signal stops the workers, through their links: one that had the signal too does not take it for a second.
   The second signal kills them.
4. A worker that ends unasked comes back after 1 s, then 2, 4 and 8 s, each longer by up to a half. The fifth end of one
   worker, with never 60 s in which none ended, stops all.
5. What workers print is passed on by whole lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import NoReturn

from rich.text import Text

from eventzr_kafka.cli.logs import LogFormat, LogLevel, name_process, set_up_logging
from eventzr_kafka.cli.terminal import STOPPING, Terminal, count_of, labelled
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.cli.worker_process import Report, WorkerProcess

__all__ = ["Plan", "Readiness", "Restarts", "Supervisor", "supervise"]

log = logging.getLogger("eventzr_kafka.cli")

_QUIET = 60.0  # seconds
_LAST = 5
_SETTLE = 5.0  # seconds in which a group may still move partitions to a worker that has joined
_CAUSES = {1: " (an event or the broker stopped it)", 2: " (it was set up wrongly)"}
_WORKER = "from eventzr_kafka.cli import main; main()"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the supervisor is to run."""

    workers: int
    targets: Sequence[str]
    log_level: LogLevel
    log_format: LogFormat
    traceback: bool

    def command(self) -> list[str]:
        """The command of a worker, but for its name and link."""
        options = ["--log-level", self.log_level, "--log-format", self.log_format]
        options += ["--traceback"] if self.traceback else []
        return [sys.executable, "-P", "-c", _WORKER, "run", *self.targets, *options]


def supervise(plan: Plan) -> NoReturn:
    """Become the supervisor: this process goes on under the same id, without what it has loaded.

    Raises:
        UsageError: The operating system cannot do it.
    """
    if sys.platform == "win32":
        raise UsageError("--workers is not supported on Windows: start the command several times")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, json.dumps(asdict(plan))])  # noqa: S606


class Restarts:
    """Decides when a worker that ended comes back, and when that makes no sense any more."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._ends: Counter[str] = Counter()
        self._latest = clock()

    def ended(self, name: str) -> float | None:
        """Seconds until the worker is to be started again, or None to give up."""
        now = self._clock()
        if now - self._latest >= _QUIET:
            self._ends.clear()
        self._latest = now
        self._ends[name] += 1
        if self._ends[name] >= _LAST:
            return None
        return 2.0 ** (self._ends[name] - 1) * (1 + self._chance() / 2)


class Readiness:
    """Says `ready` once: when every worker has joined, and it is clear which of them have no partitions."""

    def __init__(self, names: Sequence[str], terminal: Terminal, *, settle: float = _SETTLE) -> None:
        self._names = names
        self._terminal = terminal
        self._settle = settle
        self._reports: dict[str, Report] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._said = self._said_idle = False

    def reported(self, name: str, report: Report) -> None:
        """A worker has been given partitions, or none."""
        self._reports[name] = report
        if self._said or not self._all_joined():
            return
        if not self._idle():
            self._ready()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settle, self._settled)

    def gone(self, name: str) -> None:
        """A worker has ended."""
        self._reports.pop(name, None)

    def has_joined(self, name: str) -> bool:
        """Whether a worker has joined a group, so that it may be handling events."""
        return name in self._reports

    def _all_joined(self) -> bool:
        return len(self._reports) == len(self._names) and all(report.joined for report in self._reports.values())

    def _idle(self) -> list[str]:
        return [name for name in self._names if not self._reports[name].partitions]

    def _settled(self) -> None:
        self._timer = None
        if self._said or not self._all_joined():
            return
        if self._idle() != list(self._names):
            self._ready()
        elif not self._said_idle:
            self._said_idle = True
            text = "no worker has partitions so far: other members have them, or the topics do not exist"
            self._terminal.print(labelled("not ready:", text, "yellow"))

    def _ready(self) -> None:
        self._said = True
        partitions = {partition for report in self._reports.values() for partition in report.partitions}
        topics = count_of(len({topic for topic, _ in partitions}), "topic")
        text = f"{count_of(len(self._names), 'worker')}, {count_of(len(partitions), 'partition')} of {topics}"
        if idle := self._idle():
            text += f"; without partitions: {', '.join(idle)} (too many workers, or other members have them)"
        self._terminal.print(labelled("ready:", text, "green"))


class Supervisor:
    """Keeps workers running until a signal stops them or one of them ends too often."""

    def __init__(
        self, command: Sequence[str], workers: int, terminal: Terminal, restarts: Restarts | None = None
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            command: Program and arguments of a worker; its name and link are added.
        """
        self.quit_by: signal.Signals | None = None
        self._command = command
        self._names = [f"worker-{number}" for number in range(1, workers + 1)]
        self._terminal = terminal
        self._restarts = restarts or Restarts()
        self._readiness = Readiness(self._names, terminal)
        self._running: dict[str, WorkerProcess] = {}
        self._stopping = asyncio.Event()
        self._signalled = False
        self._code = 0

    async def run(self) -> int:
        """Run the workers to their end.

        Returns:
            0 if they stopped as asked, 1 if one of them ended too often or badly; what a second signal did is in
            `quit_by`.
        """
        with self._signals():
            await asyncio.gather(*(self._keep(name) for name in self._names))
        return self._code

    @contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        caught = (signal.SIGTERM, signal.SIGINT)
        for number in caught:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signalled:
            self.quit_by = number
            for worker in self._running.values():
                worker.kill()
            return
        self._signalled = True
        self._terminal.print(STOPPING)
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for name in self._running:
            self._stop_worker(name)

    def _stop_worker(self, name: str) -> None:
        self._running[name].stop()
        if not self._readiness.has_joined(name):  # it has nothing to finish, and may not listen yet
            self._running[name].terminate()

    async def _keep(self, name: str) -> None:
        while not self._stopping.is_set():
            ended = await self._live(name)
            if not self._stopping.is_set():
                await self._pause(name, ended)
            elif ended not in (0, -signal.SIGTERM) and self.quit_by is None:
                self._code = 1
                log.error("%s %s while it stopped", name, _how(ended))

    async def _live(self, name: str) -> int | OSError:
        """Run a worker once; return its exit code, or why it could not be started."""
        try:
            worker = await WorkerProcess.start(self._command, name, partial(self._readiness.reported, name))
        except OSError as error:
            return error
        self._running[name] = worker
        log.info("%s started as process %d", name, worker.pid)
        if self._stopping.is_set():
            self._stop_worker(name)
        try:
            return await worker.ended()
        finally:
            del self._running[name]
            self._readiness.gone(name)

    async def _pause(self, name: str, ended: int | OSError) -> None:
        """Wait until the worker may come back; or stop all, if it has ended too often."""
        delay = self._restarts.ended(name)
        if delay is None:
            self._code = 1
            log.error("%s %s, for the %dth time in short order: stopping all workers", name, _how(ended), _LAST)
            self._stop()
            return
        log.warning("%s %s; it comes back in %.1f s", name, _how(ended), delay)
        try:
            await asyncio.wait_for(self._stopping.wait(), delay)
        except TimeoutError:
            return


def _how(ended: int | OSError) -> str:
    if isinstance(ended, OSError):
        return f"could not be started: {ended}"
    if ended < 0:
        return f"was killed by {_signal_name(-ended)}"
    return f"exited with code {ended}{_CAUSES.get(ended, '')}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _main(plan: Plan) -> int:
    name_process("supervisor")
    set_up_logging(plan.log_level, plan.log_format)
    terminal = Terminal(plan.log_format)
    supervisor = Supervisor(plan.command(), plan.workers, terminal)
    try:
        code = asyncio.run(supervisor.run())
        if supervisor.quit_by is not None:
            signal.raise_signal(supervisor.quit_by)
            return 128 + supervisor.quit_by  # as the first process of a container it is not ended by that
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    terminal.print(Text("stopped", style="dim"))
    return code


if __name__ == "__main__":
    sys.exit(_main(Plan(**json.loads(sys.argv[1]))))
