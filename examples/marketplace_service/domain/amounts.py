"""Amounts of money: decimal numbers with as many digits after the point as their currency has."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from examples.marketplace_service.domain.errors import AmountDigitsError

__all__ = ["require_digits"]

_USUAL = 2
_OTHERS: Final[Mapping[int, str]] = {  # of ISO 4217, by their digits
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS: Final = {currency: digits for digits, codes in _OTHERS.items() for currency in codes.split()}


def require_digits(amount: Decimal, currency: str) -> None:
    """Refuse an amount that cannot be paid in its currency, such as half a yen.

    Raises:
        AmountDigitsError: The amount has more digits after the point than the currency.
    """
    digits = _DIGITS.get(currency, _USUAL)
    if amount != round(amount, digits):
        raise AmountDigitsError(currency, digits)
