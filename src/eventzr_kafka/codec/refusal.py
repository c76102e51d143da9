r"""Words for what pydantic refused in a record: the place and the rule, never a part of the payload.

1. The text of an error is never shown: a validator of a payload class may put anything into one, also under the name
   of one of pydantic's own errors. The words are pydantic's template for errors of that name, or a message that stands
   in the schema of the class.
2. What fills a gap of a template must be a constant of the schema: a bound, a pattern, the values of a Literal.
3. A part of the place is shown where the schema has a field of that name, or a list, just there. Any other part may be
   a key of a dict, and so payload: it is ``*``. Below a validator function no number counts as an index of a list.
4. The name of an extension is shown if it looks like a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticKnownError

from eventzr_kafka.codec.limits import PARSER_DEPTH
from eventzr_kafka.codec.not_json import name_form
from eventzr_kafka.errors import DecodeError, InvalidDataError, InvalidEnvelopeError, RecordTooLargeError
from eventzr_kafka.events.core_schema import (
    LISTS,
    Node,
    choices_of,
    fields_of,
    inner_schemas,
    items_of,
    literals_of,
    parts,
    schema_of,
)
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.safe_text import list_some

__all__ = ["refusal"]

_MANY = 100  # faults of one record that are counted and not listed
_SHOWN = 3  # of its faults
_BY_VALIDATOR = "refused by a validator of the payload class"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,39}")
_GAP = re.compile(r"\{(\w+)\}")
_OPEN_END = re.compile(r"(,? (not|got|found))?[\s,:'`]*$")
# The messages of pydantic's JSON parser, without the place.
_JSON_FAULT = re.compile(
    r"(EOF while parsing an? (list|object|string|value)|expected (`:`|`,` or `[\]}]`|ident|value)"
    r"|trailing (comma|characters)|invalid (escape|number|unicode code point)|number out of range|key must be a string"
    r"|recursion limit exceeded|control character \(\\u0000-\\u001F\) found while parsing a string"
    r"|lone leading surrogate in hex escape|unexpected end of hex escape)( at line \d+ column \d+)?"
)
_PLURAL = "expected_plural"
_SINGULAR = (" 1 item", " 1 character", " 1 byte", " 1 digit", " 1 decimal place")
_IN_JSON = {  # where pydantic's own words are about Python
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dataclass_type", "dict_type"), "Input should be an object"
    ),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "Input should be a valid array"),
    "none_required": "Input should be null",
    "union_tag_invalid": "Input should have one of the tags of the union",
}
_COLLECTIONS = frozenset({"List", "Set", "Frozenset", "Tuple", "Dictionary", "Deque", "Generator", "Data"})
_SCALARS = (str, int, float, bool, Decimal)


def refusal(
    record: Record, error: ValidationError, model: type[BaseModel], *, data: bytes | None = None
) -> DecodeError:
    """Make the typed error for what pydantic found: three faults at most.

    Args:
        model: The event class that the record was read as.
        data: The payload, if that alone was read.
    """
    if error.error_count() > _MANY:  # listing them would take seconds
        return InvalidDataError(record, f"data: {error.error_count():,} faults")
    try:
        found = error.errors(include_url=False, include_input=False)
    except Exception:  # noqa: BLE001 -- of a validator's own error, whose parts may do anything
        return InvalidDataError(record, f"data: {_BY_VALIDATOR}")
    if found[0]["type"] == "json_invalid" and not found[0]["loc"]:
        return _not_json(record, found[0]["msg"], data)
    words = _words_for(model)
    start = () if data is None else ("data",)
    places = [(*start, *item["loc"]) for item in found]
    reasons = [
        words.reason(place, item["type"], item["msg"], item.get("ctx") or {})
        for place, item in zip(places[:_SHOWN], found, strict=False)
    ]
    kind = InvalidDataError if places[0][:1] == ("data",) else InvalidEnvelopeError
    return kind(record, list_some(reasons, most=_SHOWN, separator="; ", total=len(found)))


def _not_json(record: Record, message: str, data: bytes | None) -> DecodeError:
    if "recursion limit" in message:
        return RecordTooLargeError(record, f"JSON nests deeper than the limit of {PARSER_DEPTH} levels")
    form = name_form((record.value or b"") if data is None else data) or _json_fault(message.partition(": ")[2])
    return InvalidEnvelopeError(record, form) if data is None else InvalidDataError(record, f"data: {form}")


def _json_fault(message: object) -> str:
    known = isinstance(message, str) and _JSON_FAULT.fullmatch(message)
    return f"Invalid JSON: {message}" if known else "Invalid JSON"


def _template(kind: str, context: dict[str, Any]) -> str | None:
    """Return pydantic's message for such an error, with gaps; None for an error that is not its own."""
    if kind in ("value_error", "assertion_error"):
        return None
    try:
        return _IN_JSON.get(kind) or PydanticKnownError(cast("Any", kind), context).message_template
    except Exception:  # noqa: BLE001 -- no such error, or without the context that it always has
        return None


class _Step(NamedTuple):
    """A node of the schema that a place has come to, and whether a validator function lies on the way."""

    node: Node
    behind_function: bool


@lru_cache(maxsize=256)
def _words_for(model: type[BaseModel]) -> _Words:
    return _Words(schema_of(model))


class _Words:
    """The words that may be used about events of one class."""

    def __init__(self, schema: Node) -> None:
        self._schema = schema
        self._definitions: dict[str, Node] = {}
        self._constants = {*_COLLECTIONS, *self._constants_in(schema)}

    def reason(self, place: Sequence[Any], kind: str, message: str, context: dict[str, Any]) -> str:
        path = ".".join(self._shown(place))
        words = message if message in self._constants else self._fill(kind, context)
        return f"{path}: {words}" if path else words

    def _fill(self, kind: str, context: dict[str, Any]) -> str:
        if kind == "json_invalid":
            return _json_fault(context.get("error"))
        template = _template(kind, context)
        if template is None:
            return _BY_VALIDATOR
        words, end = "", 0
        for gap in _GAP.finditer(template):
            words += template[end : gap.start()]
            value = context.get(gap[1]) if gap[1] != _PLURAL else "" if words.endswith(_SINGULAR) else "s"
            if gap[1] != _PLURAL and (type(value) not in _SCALARS or str(value) not in self._constants):
                return _OPEN_END.sub("", words) or _BY_VALIDATOR
            words += str(value)
            end = gap.end()
        return words + template[end:]

    def _constants_in(self, schema: Any) -> Iterator[str]:
        for part in parts(schema):
            if isinstance(part, dict):
                node = cast("Node", part)
                if isinstance(ref := node.get("ref"), str):
                    self._definitions[ref] = node
                yield from _choices(node)
            elif isinstance(part, type):
                yield part.__name__
            elif type(part) in _SCALARS:
                yield str(part)

    # Places

    def _shown(self, place: Sequence[Any]) -> Iterator[str]:
        steps = [_Step(self._schema, behind_function=False)]
        for at, part in enumerate(place):
            concrete = [one for step in steps for one in self._concrete(step)]
            known = any(_has_part(step, part) for step in concrete)
            is_extension = at == 0 and isinstance(part, str) and _NAME.fullmatch(part)
            yield str(part) if known or is_extension else "*"
            steps = [inner for step in concrete for inner in _below(step, part)]

    def _concrete(self, step: _Step) -> Iterator[_Step]:
        """Strip from a node everything that adds no part to the place."""
        inner = inner_schemas(step.node, self._definitions)
        behind = step.behind_function or step.node["type"].startswith("function-")
        for one in inner:
            yield from self._concrete(_Step(one, behind))
        if not inner:
            yield step


def _choices(node: Node) -> Iterator[str]:
    """The choices of a Literal or an Enum, as pydantic lists them."""
    if texts := [repr(value) for value in literals_of(node)]:
        yield " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _has_part(step: _Step, part: Any) -> bool:
    node, behind = step
    if type(part) is int:
        return node["type"] in LISTS and not behind
    return any(part in field.names for field in fields_of(node))


def _below(step: _Step, part: Any) -> Iterator[_Step]:
    node, behind = step
    kind = node["type"]
    if kind in LISTS:
        yield from [_Step(item, behind) for item in items_of(node)]
    elif isinstance(values := node.get("values_schema"), dict):
        yield _Step(cast("Node", values), behind)
    elif kind in ("union", "tagged-union"):  # the part names the choice
        yield from [_Step(choice, behind) for choice in choices_of(node)]
    else:
        yield from [_Step(field.schema, behind) for field in fields_of(node) if part in field.names]
