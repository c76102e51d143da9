"""Reads the headers of a message, also if a header name is not UTF-8.

`Message.headers` then returns a list with a hole (a name that is a null pointer) and sets an error. Mostly Python
raises that error, but an interpreter that has specialised the call does not look for it and returns the list; so does
a second call. Using the hole would crash the process. Comparing it is safe, and raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Message

from eventzr_kafka.kafka.record import UNREADABLE_HEADERS, Header

__all__ = ["PROBE", "read_headers"]

PROBE: Final[Any] = ("",)  # differs from every header; counting it in a list compares every name


def read_headers(message: Message) -> Sequence[Header]:
    """Return a message's headers, or `UNREADABLE_HEADERS`; call it once for each message."""
    try:
        found: Any = message.headers() or ()
        found.count(PROBE)
    except Exception:  # noqa: BLE001 -- UnicodeDecodeError or SystemError
        return UNREADABLE_HEADERS
    return tuple(found)
