"""`eventzr-kafka run --workers N`: the supervisor, which starts workers, restarts them, and stops them.

1. The supervisor holds neither a Kafka client nor the service's code: the command that has checked both becomes it
   (`supervise`).
2. Each worker is a process with a link, a pipe on which it reports its partitions and receives the request to stop. A
   worker whose link is closed stops by itself: none outlives the supervisor.
3. The first signal stops the workers through their links. A worker that got the signal too does not take the link's
   message for a second signal. The second signal kills the workers.
4. A worker that ends by itself is started again after 1 s, then 2, 4 and 8 s, each longer by up to a half. The fifth
   end of one worker, with never 60 s in which none ended, stops all.
5. The output of workers is passed on in whole lines.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, cast

from rich.text import Text

from eventzr_kafka.cli.logs import LogFormat, LogLevel, name_process, set_up_logging
from eventzr_kafka.cli.terminal import STOPPING, Terminal, count_of, labelled
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.cli.worker_process import WorkerProcess, WorkerReport
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.lifecycle.waiting import sleep_until_set

__all__ = ["Readiness", "Restarts", "Supervisor", "supervise"]

log = logging.getLogger("eventzr_kafka.cli")

_QUIET = 60.0  # seconds without an end, after which the ends so far do not count any more
_MOST_ENDS = 5
_SETTLE = 5.0  # seconds in which a group may still move partitions to a worker that has joined
_CAUSES = {1: " (an event or the broker stopped it)", 2: " (wrong call or configuration)"}
_WORKER = (sys.executable, "-P", "-c", "from eventzr_kafka.cli import main; main()", "run")


def supervise(targets: Sequence[str], workers: int, level: LogLevel, form: LogFormat, *, traceback: bool) -> NoReturn:
    """Become the supervisor: this process continues under the same id, without the code that it has loaded.

    Raises:
        UsageError: The operating system cannot do that.
    """
    if sys.platform == "win32":
        raise UsageError("--workers is not supported on Windows: start the command several times")
    options = ["--log-level", level, "--log-format", form, *(["--traceback"] if traceback else [])]
    sys.stdout.flush()
    sys.stderr.flush()
    module = [sys.executable, "-P", "-m", __name__]
    os.execv(sys.executable, [*module, str(workers), level, form, *_WORKER, *targets, *options])  # noqa: S606


class Restarts:
    """Decides when a worker that ended is started again, and when all are given up."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._ends: Counter[str] = Counter()
        self._latest = clock.monotonic()

    def ended(self, name: str) -> float | None:
        """Seconds until the worker is to be started again, or None to give up."""
        now = self._clock.monotonic()
        if now - self._latest >= _QUIET:
            self._ends.clear()
        self._latest = now
        self._ends[name] += 1
        if self._ends[name] >= _MOST_ENDS:
            return None
        return exponential_pause(self._ends[name] - 1, first=1.0, longest=math.inf) * (1 + self._clock.random() / 2)


class Readiness:
    """Prints `ready` once, when every worker has joined and partitions have had time to move to all of them."""

    def __init__(self, names: Sequence[str], terminal: Terminal, *, settle: float = _SETTLE) -> None:
        self._names = names
        self._terminal = terminal
        self._settle = settle
        self._reports: dict[str, WorkerReport] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_printed = self._no_partitions_printed = False

    def on_report(self, name: str, report: WorkerReport) -> None:
        """Note the partitions of a worker."""
        self._reports[name] = report
        if self._is_printed or not self._all_joined():
            return
        if not self._idle():
            self._print_ready()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settle, self._on_settled)

    def on_end(self, name: str) -> None:
        """Forget a worker that has ended."""
        self._reports.pop(name, None)

    def has_joined(self, name: str) -> bool:
        """True if a worker has joined a group, so that it may be handling events."""
        return name in self._reports

    def _all_joined(self) -> bool:
        return len(self._reports) == len(self._names) and all(report.joined for report in self._reports.values())

    def _idle(self) -> list[str]:
        return [name for name in self._names if not self._reports[name].partitions]

    def _on_settled(self) -> None:
        self._timer = None
        if self._is_printed or not self._all_joined():
            return
        if self._idle() != list(self._names):
            self._print_ready()
        elif not self._no_partitions_printed:
            self._no_partitions_printed = True
            text = "no worker has partitions so far: other members have them, or the topics do not exist"
            self._terminal.print(labelled("not ready:", text, "yellow"))

    def _print_ready(self) -> None:
        self._is_printed = True
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
                worker.signal(signal.SIGKILL)
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
        if not self._readiness.has_joined(name):  # it has nothing to finish, and may not read its link yet
            self._running[name].signal(signal.SIGTERM)

    async def _keep(self, name: str) -> None:
        """Run a worker, and start it again when it ends, until all stop."""
        while not self._stopping.is_set():
            ended = await self._run_once(name)
            if self._stopping.is_set():
                if ended not in (0, -signal.SIGTERM) and self.quit_by is None:
                    self._code = 1
                    log.error("%s %s while it stopped", name, _describe_end(ended))
                return
            delay = self._restarts.ended(name)
            if delay is None:
                self._code = 1
                end = _describe_end(ended)
                log.error("%s %s, for the %dth time in short order: stopping all workers", name, end, _MOST_ENDS)
                self._stop()
                return
            log.warning("%s %s; it is started again in %.1f s", name, _describe_end(ended), delay)
            await sleep_until_set(self._stopping, delay)

    async def _run_once(self, name: str) -> int | OSError:
        """Run a worker to its end; returns its exit code, or the error if it could not be started."""
        try:
            worker = await WorkerProcess.start(self._command, name, partial(self._readiness.on_report, name))
        except OSError as error:
            return error
        self._running[name] = worker
        log.info("%s started as process %d", name, worker.pid)
        if self._stopping.is_set():
            self._stop_worker(name)
        try:
            return await worker.wait()
        finally:
            del self._running[name]
            self._readiness.on_end(name)


def _describe_end(ended: int | OSError) -> str:
    if isinstance(ended, OSError):
        return f"could not be started: {ended}"
    if ended < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed by {known.get(-ended, f'signal {-ended}')}"
    return f"exited with code {ended}{_CAUSES.get(ended, '')}"


def _main(workers: str, level: str, form: str, *command: str) -> int:
    """Run the supervisor with the arguments that `supervise` has given it."""
    name_process("supervisor")
    set_up_logging(cast("LogLevel", level), cast("LogFormat", form))
    terminal = Terminal(cast("LogFormat", form))
    supervisor = Supervisor(command, int(workers), terminal)
    try:
        code = asyncio.run(supervisor.run())
        if supervisor.quit_by is not None:
            signal.raise_signal(supervisor.quit_by)
            return 128 + supervisor.quit_by  # the first process of a container is not ended by its own signal
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    terminal.print(Text("stopped", style="dim"))
    return code


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
