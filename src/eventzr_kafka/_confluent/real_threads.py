"""Refuses to make a client in a process whose threads gevent or eventlet has replaced.

librdkafka waits outside of Python. A greenlet does not yield meanwhile, and the whole process hangs.
"""

from __future__ import annotations

import sys
from typing import Any

from eventzr_kafka.errors import ConfigurationError

__all__ = ["require_real_threads"]


def require_real_threads() -> None:
    """Check that the threads of this process are real ones.

    Raises:
        ConfigurationError: They are greenlets.
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
