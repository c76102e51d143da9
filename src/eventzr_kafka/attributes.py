"""Types of the CloudEvents attributes: their forms (RFC 3986, RFC 3339, RFC 2045), and words for what does not fit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = [
    "RFC3339",
    "ExtensionName",
    "ExtensionValue",
    "MediaType",
    "Moment",
    "StoredExtension",
    "Text",
    "Uri",
    "UriReference",
]

_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})"
_IP_LITERAL = rf"//(?:(?:{_PCHAR}|:)*@)?\[[0-9A-Fa-f:.]+\](?::[0-9]*)?"  # the only place for brackets
_PATH = rf"(?:{_PCHAR}|[:/])*"
_QUERY = rf"(?:\?(?:{_PCHAR}|[:/?])*)?(?:#(?:{_PCHAR}|[:/?])*)?"
_SCHEME = r"[A-Za-z][A-Za-z0-9+\-.]*:"
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = r"^[^\x00-\x1f\x7f-\x9f]+$"
_URI = rf"^{_SCHEME}(?:{_IP_LITERAL}(?:/{_PATH})?|{_PATH}){_QUERY}$"
_URI_REFERENCE = (
    rf"^(?:{_SCHEME}(?:{_IP_LITERAL}(?:/{_PATH})?|{_PATH})|{_IP_LITERAL}(?:/{_PATH})?|{_PCHAR}*(?:/{_PATH})?){_QUERY}$"
)
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[^\x00-\x1f\x7f-\x9f])*"'
_MEDIA_TYPE = rf"^{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*[ \t]*$"
RFC3339 = (
    r"^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
    r"(?:[Zz]|[+\-](?:[01]\d|2[0-3]):[0-5]\d)$"
)
_INT32 = 2**31


class _Attribute:
    """A string of one form; what does not fit it is told in words rather than with the pattern."""

    def __init__(self, pattern: str, must_be: str) -> None:
        self._text = core_schema.str_schema(strict=True, pattern=pattern, min_length=1)
        self._must_be = must_be

    def _in_words(self, schema: CoreSchema) -> CoreSchema:
        return core_schema.custom_error_schema(schema, "attribute", custom_error_message=f"must be {self._must_be}")

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return self._in_words(self._text)


class _Moment(_Attribute):
    """Text of that form becomes an aware datetime; Python code may pass one instead."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.chain_schema([self._text, core_schema.datetime_schema(tz_constraint="aware")])
        moment = core_schema.datetime_schema(strict=True, tz_constraint="aware")
        python = core_schema.union_schema([moment, text], mode="left_to_right")
        return self._in_words(core_schema.json_or_python_schema(json_schema=text, python_schema=python))


class _Extension(_Attribute):
    """Such a string, or a boolean, or a 32-bit integer; None is taken in, and means absent."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        integer = core_schema.int_schema(strict=True, ge=-_INT32, lt=_INT32)
        kinds: list[CoreSchema | tuple[CoreSchema, str]] = [
            self._text,
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
Moment: TypeAlias = Annotated[
    datetime, _Moment(RFC3339, "a full RFC 3339 date-time with a zone, such as 2026-03-02T12:00:00.000Z")
]
ExtensionName: TypeAlias = Annotated[str, _Attribute("^[a-z0-9]+$", "named with a-z and 0-9 only")]
StoredExtension: TypeAlias = Annotated[Any, _Extension(_TEXT, f"{_A_TEXT}, a boolean or a signed 32-bit integer")]
