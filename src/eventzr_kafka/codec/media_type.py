"""The three questions that the codec asks of a media type."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_PARAMETER = re.compile(r';\s*([^=;"\s]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')

# Charsets that text on the wire comes in. Python knows more, some of which are no charsets at all (idna, undefined).
_CHARSET = re.compile(
    r"utf-?8|utf-?(16|32)([bl]e)?|(us-)?ascii|latin-?1|iso-8859-\d{1,2}|(windows-|cp)125\d|koi8-[ru]|"
    r"shift_jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5"
)

__all__ = ["charset_of", "is_charset", "is_json", "is_text"]


def is_json(media_type: str | None) -> bool:
    """``*/json`` or ``*/*+json``; in a CloudEvent, no media type means JSON too."""
    if media_type is None:
        return True
    subtype = media_type.partition(";")[0].strip().lower().rpartition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def is_text(media_type: str | None) -> bool:
    """``text/*`` or ``*/xml`` or ``*/*+xml``: data that is a str in Python."""
    essence = (media_type or "").partition(";")[0].strip().lower()
    return essence.startswith("text/") or essence.endswith(("/xml", "+xml"))


def charset_of(media_type: str | None) -> str:
    """The ``charset`` parameter in lower case; ``utf-8`` where there is none."""
    for parameter in _PARAMETER.finditer(media_type or ""):
        if parameter[1].lower() == "charset":
            return parameter[2].strip('"').lower()
    return "utf-8"


@lru_cache(maxsize=64)
def is_charset(name: str) -> bool:
    """Return True if text may be written in that charset."""
    if not _CHARSET.fullmatch(name):
        return False
    try:
        codecs.lookup(name)
    except LookupError:  # the form of a name, without a codec, such as iso-8859-12
        return False
    return True
