"""`RefusedSources`: the sources whose events a group has refused, as problems that name the setting.

1. One misspelled source would make dead letters of all its events. Its first refusal is logged as an error of its own,
   and is a problem until ten minutes have passed without another.
2. Anyone who may write to a topic can make up sources: 20 are counted one by one, the others together.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from eventzr_kafka.errors import SourceNotAllowedError
from eventzr_kafka.safe_text import printable

__all__ = ["RefusedSources"]

log = logging.getLogger("eventzr_kafka.consumer")

_LASTS = 600.0  # seconds
_MOST = 20


@dataclass(slots=True)
class _Refused:
    place: str
    hint: str
    count: int = 0
    last: float = 0.0

    def __str__(self) -> str:
        events = "1 event is a dead letter" if self.count == 1 else f"{self.count:,} events are dead letters"
        return f"{self.place} refused: {events}; {self.hint}"


class RefusedSources:
    """The refusals of one group since its start, by topic and source."""

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id
        self._found: dict[tuple[str, str | None], _Refused] = {}

    def note(self, label: str, error: SourceNotAllowedError, now: float) -> None:
        """Count one refusal.

        Args:
            label: ``Class.method`` of the handler.
            now: Seconds of a clock that only goes forward.
        """
        key: tuple[str, str | None] = (error.topic, printable(error.source))
        if key not in self._found and len(self._found) >= _MOST:
            key = (error.topic, None)
        refused = self._found.get(key)
        if refused is None:
            source = "other sources are" if key[1] is None else f"source {key[1]!r} is"
            hint = f"if it is right, accept it: sources= in the decorator of {label}, or accepts= of the event's class"
            refused = self._found[key] = _Refused(f"{self._group_id}: {error.topic}: {source}", hint)
        is_new = not refused.count or now - refused.last > _LASTS
        refused.count += 1
        refused.last = now
        if is_new:
            log.error("%s", refused)

    def problems(self, now: float) -> list[str]:
        """The refusals that still count as problems, each with its number."""
        lasting = [refused for refused in self._found.values() if now - refused.last <= _LASTS]
        return [str(refused) for refused in lasting]
