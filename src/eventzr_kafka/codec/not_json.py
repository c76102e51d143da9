"""Values that look like JSON to their producer and are none: named by their form, with what to do about it.

Only the bytes that mark a form are looked at; nothing else of a value goes into the words.
"""

from __future__ import annotations

import re

__all__ = ["name_form", "replace_lone_surrogates"]

_GLUE_HEADER = 18  # bytes: version, compression, and the UUID of the schema's version
_GLUE_COMPRESSIONS = (0, 5)
_CONFLUENT_HEADER = 5  # bytes: magic byte, and the schema's id
_MARKS = (b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")
_WRITE_BARE = "write the JSON alone, with a serializer that knows no schema registry"

_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
# All up to the first lone surrogate, if there is one; no step is ever taken back.
_UP_TO_LONE = re.compile(rb"(?:[^\\]++|%b|(?!%b)\\.)*+" % (_PAIR, _LONE), re.DOTALL)
_ESCAPE = re.compile(rb"(%b)|(%b)|\\." % (_PAIR, _LONE), re.DOTALL)


def name_form(value: bytes) -> str | None:
    """Name the form of a value that no JSON parser takes, or None where nothing tells it."""
    for mark, charset in _MARKS:
        if value.startswith(mark):
            return f"the value begins with a byte order mark ({charset}): write JSON in UTF-8 without one"
    if value[:1] == b"\x00" and len(value) > _CONFLUENT_HEADER:
        return f"the value is framed for a schema registry (Confluent: magic byte 0 and a schema id): {_WRITE_BARE}"
    if value[:1] == b"\x03" and len(value) > _GLUE_HEADER and value[1] in _GLUE_COMPRESSIONS:
        return f"the value is framed for AWS Glue's schema registry (byte 3 and a schema version): {_WRITE_BARE}"
    if _has_lone_surrogate(value):
        return (
            r"Invalid JSON: a lone surrogate, such as \ud83c without its other half; "
            'lone_surrogates="replace" reads it as U+FFFD'
        )
    return None


def _has_lone_surrogate(value: bytes) -> bool:
    if b"\\ud" not in value and b"\\uD" not in value:
        return False
    found = _UP_TO_LONE.match(value)
    end = found.end() if found is not None else 0
    return value[end : end + 2] == b"\\u"


def replace_lone_surrogates(text: bytes) -> bytes:
    """A JSON text with U+FFFD in place of each escaped surrogate that stands alone."""
    if not _has_lone_surrogate(text):
        return text
    return _ESCAPE.sub(lambda escape: rb"\uFFFD" if escape[2] else escape[0], text)
