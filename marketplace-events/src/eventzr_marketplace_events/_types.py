"""Types that the payload classes share: ids, amounts, currencies, counts and moments."""

from typing import Annotated, TypeAlias

from pydantic import Field

from eventzr_kafka import Currency, Money, Number, Timestamp

__all__ = ["Count", "Currency", "Id", "Money", "Number", "Timestamp"]

Id: TypeAlias = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True, examples=["listing-uuid"])]
"""Opaque and never empty; the platform's own example is ``listing-uuid``, so nothing reads it as a UUID.

An id that is sent as a number is read as its text: 7 is ``"7"``.
"""

Count: TypeAlias = Annotated[int, Field(ge=0, examples=[3])]
"""How many there are: 0 or more."""
