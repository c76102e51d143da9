"""Durations as options and files give them: ``45s``, ``90m``, ``12h``, ``7d``, ``2w``."""

from __future__ import annotations

import re

from eventzr_kafka.safe_text import printable

__all__ = ["DURATION", "parse_duration"]

DURATION = r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhdw])"  # number and unit, as two groups
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float:
    """Seconds of a duration.

    Raises:
        ValueError: The text is not a duration.
    """
    match = re.fullmatch(DURATION, text, re.ASCII)
    if match is None:
        raise ValueError(f"{printable(text)!r} is not a duration: write 30s, 90m, 12h or 7d")
    return float(match[1]) * _SECONDS[match[2]]
