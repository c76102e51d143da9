"""Pauses that grow from try to try.

This module is apart from `waiting`, because importing the package must not load asyncio.
"""

from __future__ import annotations

__all__ = ["exponential_pause"]


def exponential_pause(tries: int, *, first: float, longest: float, multiplier: float = 2.0) -> float:
    """Return the seconds to pause after a failed try: `first`, then `multiplier` times more, up to `longest`.

    Args:
        tries: The number of pauses before this one.
    """
    try:
        return min(first * multiplier**tries, longest)
    except OverflowError:
        return longest
