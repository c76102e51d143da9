"""Faults of JSON that parsers let through: NaN, and a second ``tenantid``.

1. NaN and Infinity are not JSON, though Python's and pydantic's parsers take them.
2. A parser keeps the last of two equal keys: a second ``tenantid``, in whatever spelling, could smuggle an event past a
   check that read the first. It may be in the envelope once.

`find_fault` clears most texts with cheap questions about the bytes, and looks closely at the others.
"""

from __future__ import annotations

import re

__all__ = ["find_fault", "has_more_containers"]

_MARK = b"\x00"  # of a name that is ``tenantid``; it stands in no JSON text
_TWO_TEXTS = re.compile(rb"\}\{")
# No quote inside of a string stands without a backslash. The words come first: a search for them is quick.
_TENANTID = re.compile(rb'"tenantid"(?<!\\"tenantid")(?=[ \t\r\n]*:)')
_SPELLINGS = sorted(
    {(b"\\u00" + form, b"%c" % letter) for letter in b"tenantid" for form in (b"%x" % letter, b"%X" % letter)}
)
_IDLE = bytes(set(range(256)) - set(b'\x00"[]{},NI'))  # nothing that is looked for outside of strings


def find_fault(value: bytes) -> str | None:
    """The reason why a JSON text is refused although parsers would take it, or None."""
    perhaps = value.count(b'"tenantid"') > 1 or b"\\u00" in value or b"NaN" in value or b"Infinity" in value
    return _look_closely(value) if perhaps else None


def _look_closely(value: bytes) -> str | None:
    """Look at what is left of a text without its strings; no value of it is built, however many there are."""
    if _MARK in value:
        return None  # no JSON: the validating parser says where
    if b"\\u00" in value:
        for spelling, letter in _SPELLINGS:
            value = value.replace(spelling, letter)
    bare = _without_strings(_TENANTID.sub(_MARK, value) if value.count(b'"tenantid"') > 1 else value)
    if b"N" in bare or b"I" in bare:  # in no other word outside of strings
        return "NaN and Infinity are not JSON"
    depth, found = 0, 0
    for part in bare.split(_MARK)[:-1]:
        depth += part.count(b"{") + part.count(b"[") - part.count(b"}") - part.count(b"]")
        found += depth == 1
    return "tenantid stands twice" if found > 1 and not _TWO_TEXTS.search(bare) else None


def has_more_containers(value: bytes, most: int) -> bool:
    """Return True if a JSON text has more arrays and objects than `most`; brackets inside strings do not count."""
    if value.count(b"{") + value.count(b"[") <= most:
        return False
    bare = _without_strings(value)
    return bare.count(b"{") + bare.count(b"[") > most


def _without_strings(text: bytes) -> bytes:
    """Keep of a JSON text what stands outside of strings and is looked for there.

    A backslash that is left once pairs of them are gone escapes a quote. Two quotes side by side, be they of one string
    or of two, change nothing for the rest; without them few pieces are left.
    """
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(text.translate(None, _IDLE).replace(b'""', b"").split(b'"')[::2])
