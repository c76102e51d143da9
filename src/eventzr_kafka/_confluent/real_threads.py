"""The client needs real threads: where gevent or eventlet has replaced them, it is refused.

librdkafka waits outside of Python. A thread that is a greenlet does not hand over meanwhile, and all of the process
stands still.
"""

from __future__ import annotations

import sys
from typing import Any

from eventzr_kafka.errors import ConfigurationError

__all__ = ["require_real_threads"]


def require_real_threads() -> None:
    """Refuse to work in a process with patched threads.

    Raises:
        ConfigurationError: Its threads are greenlets.
    """
    gevent, eventlet = _module("gevent.monkey"), _module("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        raise _refusal("gevent", "gevent.monkey.patch_all(thread=False)")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise _refusal("eventlet", "eventlet.monkey_patch(thread=False)")


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _refusal(library: str, way: str) -> ConfigurationError:
    return ConfigurationError(
        f"{library} has replaced the threads of this process, and the Kafka client would block all of it: patch with "
        f"{way}, or write to an outbox here and run `eventzr-kafka outbox relay` as a process of its own"
    )
