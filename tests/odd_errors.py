"""Errors that a handler can raise and that are hard to judge: each is a failure like any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from eventzr_kafka import BatchItemError, Record, Reject, RetryLater
from eventzr_kafka.errors import DecodeError, TombstoneError, TypeMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = Record("elsewhere", 0, 7, b"t", b"secret")
TEXT = "secret"  # to be in no log line and no letter


class Liar(type):
    """A metaclass that answers nothing."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError

    def __subclasscheck__(cls, subclass: type) -> bool:
        raise RuntimeError


class OfLiarError(Exception, metaclass=Liar):
    """Of a class that answers nothing."""


def _refuse(_self: object, *_args: object) -> NoReturn:
    raise ValueError(TEXT)


def _odd(name: str) -> type[Exception]:
    """A class whose attribute raises."""
    return type("OddError", (Exception,), {name: property(_refuse)})


class WithoutWhyError(Reject):
    """Does not call its base."""

    def __init__(self) -> None:
        pass


class WithoutAfterError(RetryLater):
    """Does not call its base."""

    def __init__(self) -> None:
        pass


class WithoutEventsError(BatchItemError):
    """Does not call its base."""

    def __init__(self) -> None:
        pass


class EndlessWaitError(RetryLater):
    """Asks for what is no wait."""

    def __init__(self, after: Any) -> None:
        self.after = after


def raises(error: BaseException) -> Callable[[], NoReturn]:
    """Make a function that raises it."""

    def act() -> NoReturn:
        raise error

    return act


def _with_cause() -> NoReturn:
    raise _odd("__cause__")(TEXT) from ValueError(TEXT)


ODD: dict[str, Callable[[], object]] = {
    "Reject(exc)": raises(Reject(ValueError(TEXT))),  # type: ignore[arg-type]
    "Reject(None)": raises(Reject(None)),  # type: ignore[arg-type]
    "Reject(5)": raises(Reject(5)),  # type: ignore[arg-type]
    "Reject without why": raises(WithoutWhyError()),
    "RetryLater without after": raises(WithoutAfterError()),
    "RetryLater(nan)": raises(EndlessWaitError(float("nan"))),
    "RetryLater(text)": raises(EndlessWaitError("soon")),
    "RetryLater(-1)": raises(EndlessWaitError(-1)),
    "BatchItemError without events": raises(WithoutEventsError()),
    "GeneratorExit": raises(GeneratorExit()),
    "CancelledError": raises(asyncio.CancelledError()),
    "BaseException": raises(BaseException(TEXT)),
    "odd __class__": raises(_odd("__class__")(TEXT)),
    "odd __traceback__": raises(_odd("__traceback__")(TEXT)),
    "odd __cause__": _with_cause,
    "odd args": raises(_odd("args")()),
    "odd __str__": raises(type("OddError", (Exception,), {"__str__": _refuse, "__repr__": _refuse})(TEXT)),
    "odd __bool__": raises(type("OddError", (Exception,), {"__bool__": _refuse, "__len__": _refuse})(TEXT)),
    "odd __eq__": raises(type("OddError", (Exception,), {"__eq__": _refuse, "__hash__": _refuse})(TEXT)),
    "odd metaclass": raises(OfLiarError(TEXT)),
    "odd name": raises(type("Odd\nError", (Exception,), {})(TEXT)),
    "a decode error of its own": raises(DecodeError(RECORD, TEXT)),
    "a tombstone of its own": raises(TombstoneError(RECORD, TEXT)),
    "a strange type of its own": raises(TypeMismatchError(RECORD, TEXT)),
}
