"""The command `eventzr-kafka`: run consumers, try them on an embedded broker, publish an event.

It needs the extra ``cli``; without it, `main` says how to get it and exits with 2.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from eventzr_kafka.errors import MissingExtraError

__all__ = ["main"]

_NEEDED = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave the process.

    Args:
        arguments: In place of ``sys.argv[1:]``.

    Raises:
        SystemExit: With 0 when all went well, 1 when something stopped it, 2 when it was set up or called wrongly,
            130 when it was interrupted.
    """
    try:
        from eventzr_kafka.cli.app import call  # noqa: PLC0415 -- needs the extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print(MissingExtraError("cli", "the command eventzr-kafka"), file=sys.stderr)
        sys.exit(2)
    _leave(call(sys.argv[1:] if arguments is None else arguments))


def _leave(code: int) -> NoReturn:
    """Exit, also where a ``def`` handler hangs in its thread: the interpreter would wait for it for ever."""
    stuck = [thread for thread in threading.enumerate() if thread.name.startswith("eventzr-kafka-handler")]
    for thread in stuck:
        thread.join(0.1)
    if any(thread.is_alive() for thread in stuck):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
