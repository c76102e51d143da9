"""A command on a terminal of its own, and the keys of its user."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = ("-c", "from eventzr_kafka.cli import main; main()")  # eventzr-kafka, for `python_on_a_terminal`
CTRL_D = b"\x04"
CTRL_C = b"\x03"
_SECONDS = 60.0


class Ended(NamedTuple):
    """How a command ended, and all that it wrote to the terminal and elsewhere."""

    code: int
    text: str


def python_on_a_terminal(
    arguments: Sequence[str], keys: bytes, *, question: str, env: Mapping[str, str] | None = None
) -> Ended:
    """Run Python with a real terminal as its standard input, and press keys when it has asked.

    Args:
        question: Its last words before it waits.
    """
    terminal, its_end = pty.openpty()
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command,
        stdin=its_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        preexec_fn=_own_the_terminal,  # noqa: PLW1509 -- no thread runs in between
    ) as process:
        os.close(its_end)
        assert process.stdout is not None
        text = b""
        while question.encode() not in text and (read := os.read(process.stdout.fileno(), 1024)):
            text += read
        rest = None
        deadline = time.monotonic() + _SECONDS  # ends what hangs
        while rest is None:
            # A Ctrl-C that comes between the question and the read leaves the read waiting: it is pressed again.
            os.write(terminal, keys)
            try:
                rest, _ = process.communicate(timeout=1.0)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    process.kill()
                    raise
    os.close(terminal)
    return Ended(process.returncode, (text + rest).decode())


def _own_the_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C is a signal."""
    import fcntl  # noqa: PLC0415 -- in the child alone
    import termios  # noqa: PLC0415

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
