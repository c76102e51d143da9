"""Numbers and amounts of money, as services in other languages write them.

1. JavaScript writes three times 1.1 as ``3.3000000000000003``. A JSON number is read as a double's shortest text, a
   string digit by digit. Below 10^15 at least 15 digits of a number are right. From there on it is refused: pydantic's
   parser has lost its text, so the sender must write it as a string.
2. An amount is then rounded half-even to the digits of the currency beside it (ISO 4217: mostly 2, of JPY 0, of KWD 3,
   of CLF 4). If the currency is unknown or absent, it is rounded to 4 digits, the most that a currency has. So is each
   amount in a list or an object, such as those of a ``list[Money]``.
3. Reading counts what it rounds (see `eventzr_kafka.rounded_amounts`). The constructor refuses it: the code that
   makes an amount can round it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from threading import local
from types import NoneType
from typing import Annotated, Any, TypeAlias

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from eventzr_kafka.events.core_schema import find_node

__all__ = [
    "Currency",
    "Money",
    "Number",
    "amounts_of",
    "digits_of",
    "round_amounts",
    "rounded",
    "take_rounded",
]

_MOST = 10**15
_LONGEST = 60  # characters of a text; a dear one is refused before it is read
_MOST_ROUNDED = 1000  # of one thread that takes no account of them
_EXACT = Context(prec=_LONGEST, rounding=ROUND_HALF_EVEN)
_NUMERAL = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_NO_NUMBER = PydanticCustomError("number", "Input should be a number of 0 or more, below 10^15 or in a string")
# ISO 4217, list one.
_WITHOUT_CENTS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_MILS = "BHD IQD JOD KWD LYD OMR TND"
_CENTS = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR
IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD
NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP
SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_DIGITS: dict[str, int] = {
    **dict.fromkeys(_WITHOUT_CENTS.split(), 0),
    **dict.fromkeys(_WITH_MILS.split(), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_WITH_CENTS = frozenset(_CENTS.split())
_MOST_DIGITS = 4
_ROUNDS = "eventzr_kafka_rounds_amounts"  # key in the metadata of a schema
_QUANTA = tuple(Decimal(1).scaleb(-digits) for digits in range(_MOST_DIGITS + 1))


def digits_of(currency: str | None, *, unknown: int = _MOST_DIGITS) -> int:
    """Digits after the point that amounts of a currency have (ISO 4217), 0 to 4.

    Args:
        unknown: Digits for a currency that the list does not have, and for none.
    """
    if currency is None:
        return unknown
    return 2 if currency in _WITH_CENTS else _DIGITS.get(currency, unknown)


class _Fine(Decimal):
    """An amount of more than two digits after the point, until it is rounded."""


_PLAIN = frozenset({Decimal, NoneType})  # types of a field that needs no rounding to two digits


def _read_fine(value: Any) -> Decimal:
    return _Fine(_read(value))


def _read(value: Any) -> Decimal:
    """Read a number that is not plain: of very many digits, or none at all."""
    if type(value) is float or (type(value) is int and value < _MOST):
        number = Decimal(repr(value))
    elif type(value) is str and len(value) <= _LONGEST and _NUMERAL.fullmatch(value):
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    else:
        raise _NO_NUMBER
    if not number.is_finite() or number < 0 or (type(value) is float and number >= _MOST):
        raise _NO_NUMBER
    if number.adjusted() >= _LONGEST - _MOST_DIGITS:  # it has too many digits to be rounded
        raise _NO_NUMBER
    return number


class _NumberSchema:
    """Annotation of a Decimal: the plain ones are read without a call of Python."""

    ge = Decimal(0)  # also for the strategies of tests, which look for these names
    max_digits = 15

    def __init__(self, read: Callable[[Any], Decimal], **bounds: Any) -> None:
        self._read = read
        self._bounds = bounds

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.decimal_schema(ge=self.ge, max_digits=self.max_digits, **self._bounds)
        return core_schema.union_schema(
            [plain, core_schema.no_info_plain_validator_function(self._read)],
            mode="left_to_right",
            custom_error_type="number",
            custom_error_message=_NO_NUMBER.message(),
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = {"type": "number", "minimum": 0}
        return number if handler.mode == "serialization" else {"anyOf": [number, {"type": "string"}]}


class _MoneyMark:
    """Metadata of a field that is rounded to the digits of ``currency``."""


Number: TypeAlias = Annotated[Decimal, _NumberSchema(_read)]
"""A Decimal of 0 or more that is a JSON number on the wire."""

Money: TypeAlias = Annotated[Decimal, _NumberSchema(_read_fine, decimal_places=2), _MoneyMark(), Field(examples=[5000])]
"""An amount in whole units of the field ``currency`` beside it: 5000 is dollars, not cents."""

Currency: TypeAlias = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
"""ISO 4217 code in three capitals, such as ``USD``."""


def amounts_of(fields: Iterable[tuple[str, FieldInfo]]) -> tuple[str, ...]:
    """Names of the fields that are `Money`, may be, or hold some in a list or an object."""
    return tuple(name for name, field in fields if _holds_money((*field.metadata, *_metadata(field.annotation))))


def _holds_money(metadata: Iterable[Any]) -> bool:
    return any(isinstance(part, _MoneyMark) for part in metadata)


def _metadata(annotation: Any) -> Iterator[Any]:
    """Metadata of an annotation, and of the types in it."""
    yield from getattr(annotation, "__metadata__", ())
    for inner in getattr(annotation, "__args__", ()):
        yield from _metadata(inner)


def round_amounts(schema: Any, owner: str, amounts: Mapping[str, str]) -> None:
    """Make the schema of a payload class round its amounts, and note which ones.

    Args:
        schema: The class's own schema; it is changed.
        owner: Name of the class.
        amounts: Name of each amount, and its name on the wire.
    """
    names = tuple(amounts)

    def round_all(parsed: tuple[dict[str, Any], Any, Any]) -> Any:
        values = parsed[0]
        if values.get("currency") in _WITH_CENTS:  # the usual case, which is to cost little
            for name in names:
                if type(values.get(name)) not in _PLAIN:
                    break
            else:
                return parsed
        quantum = _QUANTA[digits_of(values.get("currency"))]
        for name in names:
            given = values.get(name)
            if given is not None:
                values[name] = _round(given, quantum)
                if values[name] != given and len(rounded.places) < _MOST_ROUNDED:
                    rounded.places.append(f"{owner}.{amounts[name]}")
        return parsed

    model = find_node(schema, "model")
    # pydantic gives the same schema again to each model that holds the class, as the wire models of its decoders do.
    if _ROUNDS not in (model["schema"].get("metadata") or {}):
        model["schema"] = core_schema.no_info_after_validator_function(
            round_all, model["schema"], metadata={_ROUNDS: True}
        )


def _round(given: Any, quantum: Decimal) -> Any:
    """Round an amount, or those in a list or an object; anything else stays as it is."""
    if isinstance(given, Decimal):
        amount = given.quantize(quantum, context=_EXACT)
        return Decimal(given) if amount == given else _trim(amount)
    if isinstance(given, dict):
        members: dict[Any, Any] = given  # pyright: ignore[reportUnknownVariableType] -- isinstance says no more
        return {name: _round(part, quantum) for name, part in members.items()}
    if type(given) in (list, tuple, set, frozenset):
        return type(given)(_round(part, quantum) for part in given)
    return given


def _trim(amount: Decimal) -> Decimal:
    """Without the zeros after the point that rounding leaves."""
    whole = amount.to_integral()
    return whole if whole == amount else amount.normalize(_EXACT)


class _Rounded(local):
    """Amounts that this thread has rounded and not taken account of.

    Attributes:
        places: Each as ``Class.fieldOnTheWire``.
    """

    def __init__(self) -> None:
        self.places: list[str] = []


rounded = _Rounded()


def take_rounded() -> list[str]:
    """Take the places that this thread has rounded since the last call."""
    places, rounded.places = rounded.places, []
    return places
