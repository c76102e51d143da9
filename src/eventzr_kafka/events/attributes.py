"""Types of the CloudEvents attributes: their forms (RFC 3986, RFC 3339, RFC 2045), and words for what does not fit.

Only attributes of the core must be non-empty; an extension may be the empty string, as Dapr writes ``tracestate``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = [
    "ExtensionName",
    "ExtensionValue",
    "MediaType",
    "Moment",
    "OrLeapSecond",
    "StoredExtension",
    "Text",
    "Uri",
    "UriReference",
    "read_moment",
]

_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})"
_IP_LITERAL = rf"//(?:(?:{_PCHAR}|:)*@)?\[[0-9A-Fa-f:.]+\](?::[0-9]*)?"  # the only place for brackets
_PATH = rf"(?:{_PCHAR}|[:/])*"
_QUERY = rf"(?:\?(?:{_PCHAR}|[:/?])*)?(?:#(?:{_PCHAR}|[:/?])*)?"
_SCHEME = r"[A-Za-z][A-Za-z0-9+\-.]*:"
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = r"^[^\x00-\x1f\x7f-\x9f]+$"
_TEXT_OR_EMPTY = r"^[^\x00-\x1f\x7f-\x9f]*$"
_URI = rf"^{_SCHEME}(?:{_IP_LITERAL}(?:/{_PATH})?|{_PATH}){_QUERY}$"
_URI_REFERENCE = (
    rf"^(?:{_SCHEME}(?:{_IP_LITERAL}(?:/{_PATH})?|{_PATH})|{_IP_LITERAL}(?:/{_PATH})?|{_PCHAR}*(?:/{_PATH})?){_QUERY}$"
)
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[^\x00-\x1f\x7f-\x9f])*"'
_MEDIA_TYPE = rf"^{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*[ \t]*$"
_TO_THE_MINUTE = r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:"
_FRACTION_AND_ZONE = r"(?:\.\d+)?(?:[Zz]|[+\-](?:[01]\d|2[0-3]):[0-5]\d)$"
_RFC3339 = rf"{_TO_THE_MINUTE}[0-5]\d{_FRACTION_AND_ZONE}"
_LEAP_SECOND = rf"{_TO_THE_MINUTE}60{_FRACTION_AND_ZONE}"
_SECONDS = slice(17, 19)  # of such a text
_INT32 = 2**31


def read_moment(text: str) -> datetime | None:
    """An RFC 3339 date-time as an aware datetime, or None for any other text; a leap second as `_read_leap_second`."""
    try:
        if re.match(_RFC3339, text, re.ASCII):
            return datetime.fromisoformat(text.upper())
        return _read_leap_second(text) if re.match(_LEAP_SECOND, text, re.ASCII) else None
    except ValueError:  # such as 30 February
        return None


def _read_leap_second(text: str) -> datetime:
    """The last microsecond before the leap second, which no datetime can hold: of the same day, and in order.

    Raises:
        ValueError: It is not 23:59:60 in UTC, the only time of day that a leap second has, or in no year of UTC.
    """
    second = text.upper()[: _SECONDS.start] + "59" + text.upper()[_SECONDS.stop :]
    try:
        moment = datetime.fromisoformat(second).astimezone(UTC)
    except OverflowError:
        raise ValueError("a leap second is of UTC's years 1 to 9999") from None
    if (moment.hour, moment.minute) != (23, 59):
        raise ValueError("a leap second is 23:59:60 in UTC")
    return moment.replace(microsecond=999_999)


class _Attribute:
    """A string of one form; its error is in words and does not quote the pattern."""

    def __init__(self, pattern: str, must_be: str) -> None:
        self._pattern = pattern
        self._text = core_schema.str_schema(strict=True, pattern=pattern, min_length=1)
        self._must_be = must_be

    def _in_words(self, schema: CoreSchema) -> CoreSchema:
        return core_schema.custom_error_schema(schema, "attribute", custom_error_message=f"must be {self._must_be}")

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return self._in_words(self._text)


class _Moment(_Attribute):
    """Text of that form becomes an aware datetime, also a leap second; Python code may pass a datetime instead."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        moment = core_schema.datetime_schema(tz_constraint="aware")
        text = core_schema.union_schema(
            [core_schema.chain_schema([self._text, moment]), _leap_second()], mode="left_to_right"
        )
        given = core_schema.datetime_schema(strict=True, tz_constraint="aware")
        python = core_schema.union_schema([given, text], mode="left_to_right")
        return self._in_words(core_schema.json_or_python_schema(json_schema=text, python_schema=python))


def _leap_second() -> CoreSchema:
    text = core_schema.str_schema(strict=True, pattern=_LEAP_SECOND)
    return core_schema.no_info_after_validator_function(_read_leap_second, text)


class OrLeapSecond:
    """Annotation of an aware datetime in a payload: leap seconds are read as they are in ``time``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The datetime that stands there, else a leap second."""
        return core_schema.union_schema(
            [handler(source), _leap_second()],
            mode="left_to_right",
            custom_error_type="moment",
            custom_error_message="Input should be a date-time with a zone, such as 2026-03-02T12:00:00.000Z",
        )


class _Extension(_Attribute):
    """Such a string, also an empty one, or a boolean, or a 32-bit integer; None is taken in, and means absent."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        integer = core_schema.int_schema(strict=True, ge=-_INT32, lt=_INT32)
        kinds: list[CoreSchema | tuple[CoreSchema, str]] = [
            core_schema.str_schema(strict=True, pattern=self._pattern),
            core_schema.bool_schema(strict=True),
            integer,
            core_schema.none_schema(),
        ]
        return self._in_words(core_schema.union_schema(kinds, mode="left_to_right"))


_A_TEXT = "a non-empty string without control characters"
ExtensionValue: TypeAlias = str | bool | int
Text: TypeAlias = Annotated[str, _Attribute(_TEXT, _A_TEXT)]
UriReference: TypeAlias = Annotated[str, _Attribute(_URI_REFERENCE, "a non-empty URI-reference (RFC 3986)")]
Uri: TypeAlias = Annotated[str, _Attribute(_URI, "an absolute URI (RFC 3986)")]
MediaType: TypeAlias = Annotated[str, _Attribute(_MEDIA_TYPE, "a media type such as application/json (RFC 2045)")]
_A_MOMENT = "a full RFC 3339 date-time with a zone, such as 2026-03-02T12:00:00.000Z"
Moment: TypeAlias = Annotated[datetime, _Moment(_RFC3339, _A_MOMENT)]
ExtensionName: TypeAlias = Annotated[str, _Attribute("^[a-z0-9]+$", "named with a-z and 0-9 only")]
_AN_EXTENSION = "a string without control characters, a boolean or a signed 32-bit integer"
StoredExtension: TypeAlias = Annotated[Any, _Extension(_TEXT_OR_EMPTY, _AN_EXTENSION)]
