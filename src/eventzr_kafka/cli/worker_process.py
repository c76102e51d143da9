"""One worker as its supervisor sees it: a process, the link to it, and the lines that it prints."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import BinaryIO, NamedTuple, Self

__all__ = ["STOP", "WholeLines", "WorkerProcess", "WorkerReport"]

STOP = "stop"  # the message on a link that stops a worker
_CHUNK = 1 << 16  # bytes of one read
_LONGEST_LINE = 1 << 20  # bytes
_LAST_OUTPUT = 1.0  # seconds for the rest of the output; a process that a handler has started may hold it open


class WorkerReport(NamedTuple):
    """The partitions that a worker has been given since it started.

    Attributes:
        joined: True once each of its groups has answered.
    """

    joined: bool
    partitions: frozenset[tuple[str, int]]


class WholeLines:
    """Cuts a stream of bytes into whole lines; a line above 1 MiB is broken, so that memory is bounded."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; returns the lines that are complete now."""
        self._rest += chunk
        end = self._rest.rfind(b"\n", len(self._rest) - len(chunk)) + 1
        if not end:
            return self.take_rest() if len(self._rest) > _LONGEST_LINE else b""
        lines = bytes(self._rest[:end])
        del self._rest[:end]
        return lines

    def take_rest(self) -> bytes:
        """Take the bytes that are left, as a line."""
        line = bytes(self._rest) + b"\n" if self._rest else b""
        self._rest.clear()
        return line


class WorkerProcess:
    """A worker that runs, or has ended."""

    def __init__(
        self, process: asyncio.subprocess.Process, link: Connection, outputs: Sequence[asyncio.Task[None]]
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._link = link
        self._outputs = outputs

    @classmethod
    async def start(cls, command: Sequence[str], name: str, on_report: Callable[[WorkerReport], None]) -> Self:
        """Start a worker in a session of its own, where Ctrl-C of a terminal does not reach it.

        Args:
            command: Its program and arguments, to which name and link are added.
            on_report: Called on the event loop with each report of the worker.

        Raises:
            OSError: There are no processes or files left.
        """
        ours, link = Pipe()
        # Not asyncio's own pipes: with these, a process has ended only when all its children have ended.
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        outputs = [
            asyncio.create_task(_pass_on(out, sys.stdout.buffer)),
            asyncio.create_task(_pass_on(err, sys.stderr.buffer)),
        ]
        try:
            process = await asyncio.create_subprocess_exec(
                *(*command, "--worker.name", name, "--worker.link", str(link.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                pass_fds=[link.fileno()],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:  # the ends of the worker: its output ends when the last process that holds them does
            link.close()
            os.close(out_end)
            os.close(err_end)
        asyncio.get_running_loop().add_reader(ours.fileno(), _receive, ours, on_report)
        return cls(process, ours, outputs)

    def stop(self) -> None:
        """Ask the worker to finish its running handlers, commit and end."""
        with suppress(OSError):  # it has ended
            self._link.send(STOP)

    def signal(self, number: signal.Signals) -> None:
        """Send the worker a signal."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end of the worker and of its output; returns its exit code, which is negative for a signal."""
        try:
            code = await self._process.wait()
            await asyncio.wait(self._outputs, timeout=_LAST_OUTPUT)
        finally:
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            self._link.close()
            for output in self._outputs:
                output.cancel()
        return code


async def _pass_on(read_end: int, stream: BinaryIO) -> None:
    """Write a worker's output to a stream, in whole lines."""
    reader, lines = asyncio.StreamReader(), WholeLines()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(_CHUNK):
            stream.write(lines.feed(chunk))
            stream.flush()
    finally:
        stream.write(lines.take_rest())
        stream.flush()
        transport.close()


def _receive(link: Connection, on_report: Callable[[WorkerReport], None]) -> None:
    try:
        on_report(link.recv())
    except (EOFError, OSError):  # the worker has closed the link, or was killed while it wrote
        asyncio.get_running_loop().remove_reader(link.fileno())
