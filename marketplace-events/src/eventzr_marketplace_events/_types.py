"""Types that the payload classes share: ids, amounts, currencies, counts and moments."""

from decimal import Decimal
from typing import Annotated, TypeAlias

from pydantic import Field

from eventzr_kafka import Timestamp

__all__ = ["Count", "Currency", "Id", "Money", "Timestamp"]

Id: TypeAlias = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True, examples=["listing-uuid"])]
"""Opaque and never empty; the platform's own example is ``listing-uuid``, so nothing reads it as a UUID.

An id that is sent as a number is read as its text: 7 is ``"7"``.
"""

Currency: TypeAlias = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
"""ISO 4217 code in three capitals, such as ``USD``."""

Money: TypeAlias = Annotated[Decimal, Field(ge=0, max_digits=15, examples=[5000])]
"""In whole units of the ``currency`` beside it: 5000 is dollars, not cents. 15 digits are exact as JSON."""

Count: TypeAlias = Annotated[int, Field(ge=0, examples=[3])]
"""How many there are: 0 or more."""
