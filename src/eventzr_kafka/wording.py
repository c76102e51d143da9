"""Foreign texts and errors in words that are safe to log."""

from __future__ import annotations

__all__ = ["describe", "printable"]


def printable(text: str, *, limit: int = 80) -> str:
    """Make foreign text safe for one log line: control characters become ``?``, the length is capped.

    Args:
        text: Text that came from a record or from another library.
        limit: Characters at most; what is longer ends in ``…``.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def describe(error: BaseException) -> str:
    """Name an error by class and the line that raised it; never by its text, which may quote a payload."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = type(error).__qualname__
    if trace is None:
        return kind
    code = trace.tb_frame.f_code
    return f"{kind} at {code.co_filename}:{trace.tb_lineno}"
