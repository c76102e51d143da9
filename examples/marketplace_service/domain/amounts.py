"""Amounts of money: decimal numbers with as many digits after the point as their currency has."""

from __future__ import annotations

from decimal import Decimal

from eventzr_kafka import digits_of
from examples.marketplace_service.domain.errors import AmountDigitsError

__all__ = ["require_digits"]


def require_digits(amount: Decimal, currency: str) -> None:
    """Refuse an amount that cannot be paid in its currency, such as half a yen.

    Raises:
        AmountDigitsError: The amount has more digits after the point than the currency.
    """
    digits = digits_of(currency, unknown=2)
    if amount != round(amount, digits):
        raise AmountDigitsError(currency, digits)
