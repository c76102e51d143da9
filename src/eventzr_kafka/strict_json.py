"""What JSON parsers let through and an event must not: deep nesting, NaN, and a second ``tenantid``.

1. Arrays and objects nest at most `max_depth` levels; counted before parsing, so that no parser recurses.
2. NaN and Infinity are no JSON, though Python's and pydantic's parsers take them.
3. A parser keeps the last of two equal keys: a second ``tenantid``, in whatever spelling, could smuggle an event past a
   check that read the first. It may stand once in the envelope.

`is_plain` and `names_one_tenant` clear most events with cheap questions about the bytes; `find_fault` looks closely
where they do not.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from eventzr_kafka.limits import PARSER_DEPTH

__all__ = ["find_fault", "is_plain", "names_one_tenant", "nests_too_deep"]

_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|([\[{])|[\]}]', re.DOTALL)


def nests_too_deep(value: bytes, max_depth: int) -> bool:
    """Whether arrays and objects nest deeper than `max_depth`; brackets inside strings do not count."""
    if value.count(b"{") + value.count(b"[") <= max_depth:
        return False
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(value):
        if token[1]:
            depth += 1
            if depth > max_depth:
                return True
        elif token[0][0] != 0x22:
            depth -= 1
    return False


def is_plain(text: bytes) -> bool:
    """Whether it is ASCII without escape and DEL, so that no string in it holds a control character, and has no NaN.

    It may be one JSON text or many, joined: the answer costs next to nothing for either.
    """
    # bytes.find of one byte is five times as fast as a search for a word.
    return (
        text.isascii()
        and text.find(b"\\") < 0
        and text.find(b"\x7f") < 0
        and (text.find(b"N") < 0 or text.find(b"NaN") < 0)
        and (text.find(b"I") < 0 or text.find(b"Infinity") < 0)
    )


def names_one_tenant(value: bytes) -> bool:
    """Whether a plain JSON text has one ``tenantid`` at the most."""
    return value.count(b'"tenantid"') < 2


def find_fault(value: bytes) -> str | None:
    """The reason why a JSON text is refused although parsers would take it, or None."""
    perhaps = value.count(b'"tenantid"') > 1 or b"\\u00" in value or b"NaN" in value or b"Infinity" in value
    return _look_closely(value) if perhaps else None


class _RefusedError(ValueError):
    pass


def _refuse_constant(_name: str) -> NoReturn:
    raise _RefusedError("NaN and Infinity are not JSON")


def _look_closely(value: bytes) -> str | None:
    pairs: list[tuple[str, Any]] = []

    def keep(found: list[tuple[str, Any]]) -> None:
        pairs[:] = found  # the outermost object is the last to be closed

    try:
        json.loads(value, object_pairs_hook=keep, parse_constant=_refuse_constant)
    except _RefusedError as refused:
        return str(refused)
    except RecursionError:  # either the text is deep, which the validating parser refuses, or the caller's stack is
        return None if nests_too_deep(value, PARSER_DEPTH) else "cannot be looked at closely from so deep a call stack"
    except ValueError:
        return None  # no JSON: the validating parser says where
    return "tenantid stands twice" if sum(name == "tenantid" for name, _ in pairs) > 1 else None
