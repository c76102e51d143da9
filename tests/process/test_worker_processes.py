"""Workers as processes without Kafka: how they are started again, and how they are stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventzr_kafka.cli.terminal import Terminal
from eventzr_kafka.cli.workers import Restarts, Supervisor

SECONDS = 60.0
JOINED = """
import os, signal, subprocess, sys, time
from multiprocessing.connection import Connection
from eventzr_kafka.cli.worker_process import WorkerReport
name, link = sys.argv[-3], Connection(int(sys.argv[-1]))
link.send(WorkerReport(True, frozenset({("orders.v1", int(name[-1]))})))
"""
OBEDIENT = JOINED + "print(name, 'heard', link.recv(), flush=True)\n"


class AtOnce(Restarts):
    """Lets a worker come back without a pause."""

    def ended(self, name: str) -> float | None:
        return None if super().ended(name) is None else 0.0


class Running:
    """A supervisor of workers that run a script, and what it has said and passed on."""

    def __init__(self, script: str, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
        self.supervisor = Supervisor([sys.executable, "-c", script], workers, Terminal(), AtOnce())
        self._task = asyncio.create_task(self.supervisor.run())
        self._capfd = capfd
        self._said = ""

    @property
    def said(self) -> str:
        captured = self._capfd.readouterr()
        self._said += captured.out + captured.err
        return self._said

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                assert not self._task.done(), self.said
                await asyncio.sleep(0.01)

    async def code(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self._task


async def test_signal_stops_each_worker_once(capfd: pytest.CaptureFixture[str]) -> None:
    running = Running(OBEDIENT, 2, capfd)
    await running.until(lambda: "ready: 2 workers, 2 partitions of 1 topic\n" in running.said)

    os.kill(os.getpid(), signal.SIGTERM)

    assert await running.code() == 0
    lines = running.said.splitlines()
    assert lines[-3] == "stopping: running handlers finish first (a second signal quits at once)"
    assert sorted(lines[-2:]) == ["worker-1 heard stop", "worker-2 heard stop"]


async def test_deaf_worker_is_signalled(capfd: pytest.CaptureFixture[str]) -> None:
    running = Running("import time; print('boots', flush=True); time.sleep(60)", 1, capfd)
    await running.until(lambda: "boots" in running.said)

    os.kill(os.getpid(), signal.SIGINT)

    assert await running.code() == 0


async def test_dead_worker_is_restarted_with_one_line(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    once = f"if name == 'worker-2' and not os.path.exists({str(tmp_path / 'x')!r}):\n"
    die = f"    open({str(tmp_path / 'x')!r}, 'w'); os.kill(os.getpid(), 9)\n"
    running = Running(JOINED + once + die + "print(name, 'is up', flush=True); link.recv()", 2, capfd)
    await running.until(lambda: "ready" in running.said and "worker-2 is up" in running.said)

    os.kill(os.getpid(), signal.SIGTERM)

    assert await running.code() == 0
    assert caplog.messages == ["worker-2 was killed by SIGKILL; it is started again in 0.0 s"]


async def test_fifth_quick_end_stops_all_with_1(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(JOINED + "sys.exit(1) if name == 'worker-1' else print(link.recv())", 2, capfd)

    assert await running.code() == 1

    again = "worker-1 exited with code 1 (an event or the broker stopped it); it is started again in 0.0 s"
    last = "worker-1 exited with code 1 (an event or the broker stopped it), for the 5th time in short order: "
    assert caplog.messages == [again] * 4 + [last + "stopping all workers"]
    assert "stop\n" in running.said


async def test_failure_in_a_stop_is_reported(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(OBEDIENT + "sys.exit(1)", 1, capfd)
    await running.until(lambda: "ready" in running.said)

    os.kill(os.getpid(), signal.SIGTERM)

    assert await running.code() == 1
    assert caplog.messages == ["worker-1 exited with code 1 (an event or the broker stopped it) while it stopped"]


async def test_second_signal_kills_workers(capfd: pytest.CaptureFixture[str]) -> None:
    running = Running(OBEDIENT + "time.sleep(60)", 2, capfd)
    await running.until(lambda: "ready" in running.said)

    os.kill(os.getpid(), signal.SIGTERM)
    await running.until(lambda: running.said.count("heard stop") == 2)
    os.kill(os.getpid(), signal.SIGINT)

    await running.code()
    assert running.supervisor.quit_by is signal.SIGINT


async def test_long_lines_do_not_mix(capfd: pytest.CaptureFixture[str]) -> None:
    write = (
        "for _ in range(100):\n    [os.write(1, name[-1:].encode() * 9000) for _ in range(3)]; os.write(1, b'\\n')\n"
    )
    running = Running(JOINED + write + "link.recv()", 3, capfd)
    await running.until(lambda: running.said.count("\n") >= 301)

    os.kill(os.getpid(), signal.SIGTERM)
    await running.code()

    lines = [line for line in running.said.splitlines() if re.match(r"\d", line)]
    assert sorted(lines) == ["1" * 27000] * 100 + ["2" * 27000] * 100 + ["3" * 27000] * 100


async def test_process_left_behind_does_not_hold_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    program = JOINED + "print('left', subprocess.Popen(['sleep', '900']).pid, 'behind', flush=True); link.recv()"
    running = Running(program, 1, capfd)
    await running.until(lambda: "ready" in running.said and "behind" in running.said)

    os.kill(os.getpid(), signal.SIGTERM)
    await running.code()

    found = re.search(r"left (\d+) behind", running.said)
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)  # it is still there


async def test_idle_workers_cost_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    running = Running(OBEDIENT, 2, capfd)
    await running.until(lambda: "ready" in running.said)

    before = time.process_time()
    await asyncio.sleep(1.0)
    used = time.process_time() - before
    os.kill(os.getpid(), signal.SIGTERM)
    await running.code()

    assert used < 0.02
