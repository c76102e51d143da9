"""Errors of the domain: one tree, each with the HTTP status of its answer.

::

    DomainError
    ├── NotFoundError
    ├── IllegalTransitionError
    ├── NotOpenError
    ├── LimitReachedError
    ├── TooEarlyError          of an event: it may succeed later
    ├── AmountMismatchError    of an event: an operator has to decide
    ├── ContradictionError     the same
    ├── MissingFieldError      the same
    └── TooLargeError          the same
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar, TypeVar

__all__ = [
    "AmountMismatchError",
    "ContradictionError",
    "DomainError",
    "IllegalTransitionError",
    "LimitReachedError",
    "MissingFieldError",
    "NotFoundError",
    "NotOpenError",
    "TooEarlyError",
    "TooLargeError",
    "required",
]

T = TypeVar("T")


class DomainError(Exception):
    """A rule of the marketplace is broken.

    Attributes:
        problem: Last part of the problem's type.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.CONFLICT
    problem: ClassVar[str]


class NotFoundError(DomainError):
    """The tenant does not have this row; the answer does not reveal whether another tenant does."""

    status = HTTPStatus.NOT_FOUND
    problem = "not-found"

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"{kind} {key!r} does not exist")


class IllegalTransitionError(DomainError):
    """The action is not allowed in this state."""

    problem = "illegal-transition"

    def __init__(self, kind: str, state: str, action: str) -> None:
        self.kind = kind
        self.state = state
        self.action = action
        super().__init__(f"cannot {action} this {kind}: it is {state}")


class NotOpenError(DomainError):
    """The listing is not open: quotes cannot be submitted or accepted."""

    problem = "listing-not-open"

    def __init__(self, listing_id: str, state: str) -> None:
        super().__init__(f"listing {listing_id!r} is not open: it is {state}")


class LimitReachedError(DomainError):
    """The seller's tier allows no more open listings."""

    problem = "listing-limit-reached"

    def __init__(self, tier: str, limit: int) -> None:
        self.limit = limit
        super().__init__(f"tier {tier!r} allows {limit} open listings at once")


class TooEarlyError(DomainError):
    """The row is not yet in the state that the event needs."""

    problem = "too-early"

    def __init__(self, kind: str, key: str, state: str) -> None:
        super().__init__(f"{kind} {key!r} is only {state}")


class AmountMismatchError(DomainError):
    """The amount that was paid differs from the amount due."""

    problem = "amount-mismatch"

    def __init__(self, payment_id: str) -> None:
        super().__init__(f"{payment_id!r} differs from the amount due")


class ContradictionError(DomainError):
    """An event contradicts the row that it is about."""

    problem = "contradiction"

    def __init__(self, key: str, named: str, owner: str) -> None:
        super().__init__(f"{key!r} names another {named} than its {owner}")


class MissingFieldError(DomainError):
    """An event lacks a field without which it has no effect."""

    problem = "missing-field"

    def __init__(self, kind: str, key: str, field: str) -> None:
        self.kind = kind
        self.key = key
        self.field = field
        super().__init__(f"{kind} {key!r} has no {field}")


class TooLargeError(DomainError):
    """A count exceeds its maximum."""

    problem = "too-large"

    def __init__(self, what: str, count: int, most: int) -> None:
        super().__init__(f"{count} {what}: at most {most} are allowed")


def required(value: T | None, kind: str, key: str, field: str) -> T:
    """Return a field that an event may lack.

    Raises:
        MissingFieldError: It does.
    """
    if value is None:
        raise MissingFieldError(kind, key, field)
    return value
