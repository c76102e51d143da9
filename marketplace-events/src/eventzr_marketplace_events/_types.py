"""Types that the payload classes share: ids, amounts, currencies, counts and moments."""

from typing import Annotated, TypeAlias

from pydantic import Field

from eventzr_kafka import Currency as _Capitals
from eventzr_kafka import Money, Number, Timestamp
from eventzr_marketplace_events._shapes import OrElse

__all__ = ["Count", "Currency", "Id", "Money", "Number", "Timestamp"]

Id: TypeAlias = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True, examples=["listing-uuid"])]
"""Opaque and never empty; the platform's own example is ``listing-uuid``, so nothing reads it as a UUID.

An id that is sent as a number is read as its text: 7 is ``"7"``.
"""

Currency: TypeAlias = Annotated[
    _Capitals, OrElse(Annotated[str, Field(pattern="^[a-z]{3}$")], str.upper, should_be="an ISO 4217 code, such as USD")
]
"""ISO 4217 code in three capitals, such as ``USD``; also read from small letters, as some payment services write it."""

Count: TypeAlias = Annotated[int, Field(ge=0, examples=[3])]
"""How many there are: 0 or more."""
