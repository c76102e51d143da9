"""Foreign texts and errors in words that are safe to log.

A handler's error is judged by the interpreter's own slots, never by the error's attributes: its class may have a
metaclass, and `__class__`, `__cause__`, `__traceback__` or `__str__` may be properties that raise or lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["attribute", "cause_of", "describe_faults", "error_location", "is_a", "list_some", "name_of", "printable"]

_MAX_NAME = 200  # characters of the name of a class
# The slots of the interpreter's own objects: no class can put another thing in their place.
_name: Callable[[type], str] = vars(type)["__qualname__"].__get__
_cause: Callable[[BaseException], BaseException | None] = vars(BaseException)["__cause__"].__get__
_traceback: Callable[[BaseException], TracebackType | None] = vars(BaseException)["__traceback__"].__get__


def printable(text: str, *, limit: int = 80) -> str:
    """Make foreign text safe for one log line: control characters become ``?``, the length is capped.

    Args:
        text: Text that came from a record or from another library.
        limit: Characters at most; what is longer ends in ``…``.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def list_some(names: Sequence[str], *, most: int = 3, separator: str = ", ", total: int | None = None) -> str:
    """The first names of many, such as ``a, b, c and 4 more``.

    Args:
        total: Number of all names, if only the first ones were made.
    """
    count = len(names) if total is None else total
    more = f" and {count - most:,} more" if count > most else ""
    return separator.join(names[:most]) + more


def describe_faults(error: ValidationError, *, start: str = "") -> str:
    """The first faults of a validation in one line, each with its place; a refused value is not quoted.

    Args:
        start: Name of the whole that was validated, the first part of each place.
    """
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    places = [printable(".".join(filter(None, (start, *map(str, fault["loc"])))), limit=300) for fault in faults]
    messages = [fault["msg"].removeprefix("Value error, ") for fault in faults]
    reasons = [": ".join(filter(None, reason)) for reason in zip(places, messages, strict=True)]
    return list_some(reasons, separator="; ")


def error_location(error: BaseException) -> str:
    """Class of an error and the line that raised it, such as ``ValueError at /app/orders.py:12``.

    The text of the error is left out: it may quote a payload.
    """
    trace = _traceback(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return name_of(error)
    code = trace.tb_frame.f_code
    return f"{name_of(error)} at {code.co_filename}:{trace.tb_lineno}"


def name_of(error: BaseException) -> str:
    """Qualified name of an error's class."""
    return printable(str.__str__(_name(type(error))), limit=_MAX_NAME)


def is_a(error: BaseException, *kinds: type[BaseException]) -> bool:
    """True if an ``except`` clause for these classes catches the error; `isinstance` would ask the error itself."""
    return any(type.__subclasscheck__(kind, type(error)) for kind in kinds)


def cause_of(error: BaseException) -> BaseException | None:
    """The error that this one was raised ``from``."""
    return _cause(error)


def attribute(error: BaseException, name: str) -> Any:
    """An attribute of an error; None if it has no such attribute, or reading it raises."""
    try:
        return getattr(error, name)
    except BaseException:  # noqa: BLE001 -- a property of a foreign class
        return None
