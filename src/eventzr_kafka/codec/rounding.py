"""Count of the amounts that were rounded when they were read, by topic, source and field."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventzr_kafka.safe_text import printable

__all__ = ["RoundedAmount", "count_rounded", "rounded_amounts"]

log = logging.getLogger("eventzr_kafka.codec")
_MOST = 1000  # sources are free text; the rest is counted together
_LONGEST = 200  # characters of a source


class RoundedAmount(NamedTuple):
    """An amount that arrives with more digits than its currency has.

    Attributes:
        topic: The topic of its events.
        source: Their ``source``, cut after 200 characters; ``*`` where more of them are known than are kept apart.
        field: Class and field as it stands on the wire, such as ``PaymentCompleted.amount``.
    """

    topic: str
    source: str
    field: str


_counts: Counter[RoundedAmount] = Counter()


def count_rounded(topic: str, source: str, fields: Iterable[str]) -> None:
    """Count rounded amounts of one event; the first of each topic, source and field is logged."""
    for field in fields:
        amount = RoundedAmount(topic, printable(source, limit=_LONGEST), field)
        if amount not in _counts and len(_counts) >= _MOST:
            amount = RoundedAmount(topic, "*", field)
        _counts[amount] += 1
        if _counts[amount] == 1:
            log.warning(
                "%s: source %r sends %s with more digits than its currency has: rounded half-even, 1 so far; "
                "later ones are counted and not logged: ask the sender to round its amounts",
                topic,
                printable(amount.source),
                field,
            )


def rounded_amounts() -> Mapping[RoundedAmount, int]:
    """How often an amount was rounded since the process began, by topic, source and field."""
    return dict(_counts)
