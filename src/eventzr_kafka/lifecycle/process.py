"""The process that a client belongs to: its forks and its end.

1. A client belongs to the process that opened it: a forked child leaves it alone.
2. Clients that are open when the process ends are closed within 10 seconds, and the log reports it. At that time the
   non-daemon threads have ended, and logging still works.
3. If a signal or `os._exit` ends the process, nothing of this runs.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import weakref
from typing import Protocol

from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.safe_text import error_location

__all__ = ["forget_open", "forks", "note_open"]

log = logging.getLogger("eventzr_kafka")

_END_SECONDS = 10.0  # that closing all open clients may take


class _Open(Protocol):
    def end_at_exit(self, deadline: float) -> None:
        """Close; `deadline` is a time of the system's monotonic clock."""
        ...


class _Registry:
    """The open clients of this process."""

    def __init__(self) -> None:
        self.clients: weakref.WeakSet[_Open] = weakref.WeakSet()
        self.is_registered = False

    def forget_all(self) -> None:
        """Start over, in a forked child."""
        self.clients = weakref.WeakSet()
        self.is_registered = False

    def end_all(self) -> None:
        deadline = SYSTEM_CLOCK.monotonic() + _END_SECONDS
        for client in list(self.clients):
            try:
                client.end_at_exit(deadline)
            except Exception as error:  # noqa: BLE001 -- the other clients must still be closed
                log.error("closing a client at the end of the process failed: %s", error_location(error))  # noqa: TRY400 -- no texts
        self.clients = weakref.WeakSet()


class _Forks:
    """Counts the forks between the process that loaded this module and this one: cheaper than `os.getpid` per event."""

    count = 0

    def add(self) -> None:
        self.count += 1


forks = _Forks()
_registry = _Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forks.add)
    os.register_at_fork(after_in_child=_registry.forget_all)


def note_open(client: _Open) -> None:
    """Close a client if the process ends before `forget_open`; the registry does not keep the client alive."""
    if not _registry.is_registered:
        _registry.is_registered = True
        atexit.register(_registry.end_all)
        _register_in_child_of_multiprocessing()
    _registry.clients.add(client)


def forget_open(client: _Open) -> None:
    """Forget a client that is closed."""
    _registry.clients.discard(client)


def _register_in_child_of_multiprocessing() -> None:
    """Register with multiprocessing, whose child processes do not call `atexit` before Python 3.13."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 -- loaded already, in such a process

        Finalize(None, _registry.end_all, exitpriority=100)
