"""Errors of the domain: one tree, each with the HTTP status of its answer.

::

    DomainError
    ├── NotFoundError
    ├── IllegalTransitionError
    ├── NotOpenError
    ├── LimitReachedError
    ├── UnchangedError
    ├── DeadlinePassedError
    ├── AmountDigitsError
    ├── RefundError
    ├── DisputeOpenError
    ├── PaidOutError
    ├── AlreadyDoneError       of an event: an operator has to decide
    ├── NothingDueError        the same
    ├── AmountMismatchError    the same
    ├── ContradictionError     the same
    ├── MissingFieldError      the same
    └── TooLargeError          the same
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import ClassVar, TypeVar

__all__ = [
    "AlreadyDoneError",
    "AmountDigitsError",
    "AmountMismatchError",
    "ContradictionError",
    "DeadlinePassedError",
    "DisputeOpenError",
    "DomainError",
    "IllegalTransitionError",
    "LimitReachedError",
    "MissingFieldError",
    "NotFoundError",
    "NotOpenError",
    "NothingDueError",
    "PaidOutError",
    "RefundError",
    "TooLargeError",
    "UnchangedError",
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
        super().__init__(f"there is no {kind} {key!r}")


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


class UnchangedError(DomainError):
    """A change changes nothing: subscribers would be notified for nothing."""

    problem = "unchanged"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"{kind} {key!r} has these values already")


class DeadlinePassedError(DomainError):
    """A deadline is not in the future."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    problem = "deadline-passed"

    def __init__(self, deadline: datetime) -> None:
        super().__init__(f"the deadline {deadline.isoformat()} has passed")


class AmountDigitsError(DomainError):
    """The amount has more digits after the point than its currency."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    problem = "amount-digits"

    def __init__(self, currency: str, digits: int) -> None:
        super().__init__(f"an amount in {currency} has at most {digits} digits after the point")


class RefundError(DomainError):
    """The refund does not fit the outcome of its dispute."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    problem = "refund-mismatch"

    def __init__(self, outcome: str, allowed: str) -> None:
        super().__init__(f"the refund of a dispute that ends with {outcome!r} must be {allowed}")


class DisputeOpenError(DomainError):
    """The order has an open dispute, which must be resolved first."""

    problem = "dispute-open"

    def __init__(self, order_id: str, dispute_id: str) -> None:
        super().__init__(f"order {order_id!r} is in dispute: resolve dispute {dispute_id!r} first")


class PaidOutError(DomainError):
    """The seller has the money, so a dispute cannot move it."""

    problem = "paid-out"

    def __init__(self, order_id: str) -> None:
        super().__init__(f"the seller of order {order_id!r} has been paid")


class AlreadyDoneError(DomainError):
    """The order was paid, or its escrow released, by another event."""

    problem = "already-done"

    def __init__(self, order_id: str, done: str, by: str) -> None:
        super().__init__(f"order {order_id!r} was {done} by {by!r} already")


class NothingDueError(DomainError):
    """An escrow is released to the seller of an order whose buyer gets the money back."""

    problem = "nothing-due"

    def __init__(self, order_id: str, state: str) -> None:
        super().__init__(f"nothing is due to the seller of order {order_id!r}: it is {state}")


class AmountMismatchError(DomainError):
    """The amount of a payment or release differs from the amount due."""

    problem = "amount-mismatch"

    def __init__(self, payment_id: str, order_id: str) -> None:
        super().__init__(f"{payment_id!r} differs from the amount due for order {order_id!r}")


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
