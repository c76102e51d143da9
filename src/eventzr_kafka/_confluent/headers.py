"""The headers of a message, where a name may be anything but UTF-8.

`Message.headers` then leaves a hole in its list (a name that is a null pointer) and an error behind. Mostly that error
is raised; but an interpreter that has specialised the call does not look for it, and returns the list, as a second call
does. Touching the hole would end the process. Comparing it is safe, and raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Message

from eventzr_kafka.kafka.record import UNREADABLE_HEADERS, Header

__all__ = ["PROBE", "read_headers"]

PROBE: Final[Any] = ("",)  # equals no header; counting it in a list compares every name


def read_headers(message: Message) -> Sequence[Header]:
    """The headers of a message that was not asked before, or `UNREADABLE_HEADERS`."""
    try:
        found: Any = message.headers() or ()
        found.count(PROBE)
    except Exception:  # noqa: BLE001 -- UnicodeDecodeError or SystemError
        return UNREADABLE_HEADERS
    return tuple(found)
