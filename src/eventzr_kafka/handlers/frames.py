"""Frames of the code that uses a decorator, for the place that an error names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FrameType

__all__ = ["code_line", "outer_frames"]

_OWN = frozenset({__name__, "eventzr_kafka.handlers.decorators", "eventzr_kafka.handlers.marks"})


def outer_frames() -> Iterator[FrameType]:
    """The frames outside of the decorators' modules, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") not in _OWN:
            yield frame
        frame = frame.f_back


def code_line(frame: FrameType | None = None) -> str:
    """Return ``file:line`` of a frame; of the innermost outer one if it is left out."""
    frame = frame or next(outer_frames())
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
