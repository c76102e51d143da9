"""One life of a worker, as its supervisor sees it: a process, its link, and what it prints."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Self

__all__ = ["STOP", "Report", "WholeLines", "WorkerProcess"]

STOP = b"stop"  # what the supervisor writes on a link
_CHUNK = 1 << 16
_LONGEST = 1 << 20  # bytes of a line, and of a report
_LAST_WORDS = 1.0  # seconds for the rest of the output; a process that a handler has started may hold it open


@dataclass(frozen=True)
class Report:
    """Which partitions a worker has been given since it started, and whether all its groups have answered."""

    joined: bool
    partitions: frozenset[tuple[str, int]]

    def line(self) -> bytes:
        """The report as it goes over the link."""
        return json.dumps([self.joined, sorted(self.partitions)]).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Self:
        """The report that a line holds."""
        joined, partitions = json.loads(line)
        return cls(joined, frozenset((topic, number) for topic, number in partitions))


class WholeLines:
    """Cuts a stream of bytes into whole lines; a line above 1 MiB is broken."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """The lines that are complete now."""
        self._rest += chunk
        end = self._rest.rfind(b"\n", len(self._rest) - len(chunk)) + 1
        if not end:
            return self.last() if len(self._rest) > _LONGEST else b""
        lines = bytes(self._rest[:end])
        del self._rest[:end]
        return lines

    def last(self) -> bytes:
        """What is left, as a line."""
        line = bytes(self._rest) + b"\n" if self._rest else b""
        self._rest.clear()
        return line


class _Output:
    """A pipe that a worker writes to, whose lines are passed on."""

    def __init__(self, stream: BinaryIO) -> None:
        read, self.write_end = os.pipe()
        self.passing = asyncio.create_task(_pass_on(read, stream))

    def hand_over(self) -> None:
        """Leave the end that is written to to the worker."""
        os.close(self.write_end)


async def _pass_on(read_end: int, stream: BinaryIO) -> None:
    reader, lines = asyncio.StreamReader(), WholeLines()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(_CHUNK):
            _write(lines.feed(chunk), stream)
    finally:
        _write(lines.last(), stream)
        transport.close()


def _write(lines: bytes, stream: BinaryIO) -> None:
    if lines:
        stream.write(lines)
        stream.flush()


class WorkerProcess:
    """A worker that runs, or has ended."""

    def __init__(
        self, process: asyncio.subprocess.Process, link: asyncio.StreamWriter, tasks: Iterable[asyncio.Task[None]]
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._link = link
        self._tasks = set(tasks)

    @classmethod
    async def start(cls, command: Sequence[str], name: str, on_report: Callable[[Report], None]) -> Self:
        """Start a worker.

        Args:
            command: Its program and arguments, to which name and link are added.
            on_report: Called with what the worker reports.

        Raises:
            OSError: There are no processes or files left.
        """
        ours, theirs = socket.socketpair()
        outputs = [_Output(sys.stdout.buffer), _Output(sys.stderr.buffer)]
        try:
            process = await _spawn([*command, "--worker.name", name], theirs, outputs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            for output in outputs:
                output.hand_over()
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST)
        listening = asyncio.create_task(_listen(reader, on_report))
        return cls(process, writer, [listening, *(output.passing for output in outputs)])

    def stop(self) -> None:
        """Have it finish what runs, commit and end."""
        self._link.write(STOP)

    def terminate(self) -> None:
        """Signal it to end: for one that does not listen yet."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end and return its exit code, which is negative for a signal."""
        try:
            code = await self._process.wait()
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS)
        finally:
            self._link.close()
            for task in self._tasks:
                task.cancel()
        return code


async def _spawn(command: Sequence[str], link: socket.socket, outputs: Sequence[_Output]) -> asyncio.subprocess.Process:
    """Start the process in a session of its own, where Ctrl-C of a terminal does not reach it."""
    out, err = outputs
    return await asyncio.create_subprocess_exec(
        *command,
        "--worker.link",
        str(link.fileno()),
        stdin=subprocess.DEVNULL,
        stdout=out.write_end,
        stderr=err.write_end,
        pass_fds=[link.fileno()],
        start_new_session=True,
    )


async def _listen(reader: asyncio.StreamReader, on_report: Callable[[Report], None]) -> None:
    async for line in reader:
        if line.endswith(b"\n"):  # else it was killed while it wrote
            on_report(Report.of(line))
