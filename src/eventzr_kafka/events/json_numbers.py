"""Decimals as JSON numbers, wherever they stand in a payload.

pydantic writes a Decimal as a string. The schemas of payload classes are changed so that they write numbers (1), and a
class of pydantic's own inside of one, or as a whole payload, is written by a serializer of ours (2). What no schema
speaks of, such as an unknown field, is looked through when it is written (3).
"""

from __future__ import annotations

from collections import deque
from dataclasses import is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticCustomError, SchemaSerializer, core_schema

from eventzr_kafka.events.core_schema import Node, copy_schema, leaf_of, nodes

__all__ = ["apply_number_rules", "json_number", "serializer_of", "with_numbers"]

_EXACT_DIGITS = 15  # significant ones, which a float always carries
_MAX_DIGITS = 40  # of a Decimal that is written as an integer; above, 1e300 is written as such
_ARRAYS = (list, tuple, set, frozenset, deque)


def json_number(amount: Decimal) -> int | float:
    """A Decimal as the JSON number that reads back as the same Decimal; 15 significant digits are always exact."""
    text = str(amount)
    if len(text) <= _EXACT_DIGITS and amount.is_finite() and "E" not in text:  # most amounts: three times as fast
        number = float(text)
        return int(number) if number.is_integer() else number
    number = float(amount)
    if not amount.is_finite():
        raise PydanticCustomError("decimal_finite", "NaN and Infinity are not JSON")
    if Decimal(repr(number)) != amount:
        raise PydanticCustomError("decimal_digits", "a Decimal is exact on the wire only up to 15 significant digits")
    return int(amount) if number.is_integer() and amount.adjusted() < _MAX_DIGITS else number


def with_numbers(value: Any) -> Any:
    """A value of no declared type, with its Decimals as numbers; as a name in an object, as the text of one."""
    if isinstance(value, Decimal):
        return json_number(value)
    if isinstance(value, dict):
        members: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType] -- isinstance says no more
        return {_name(key): with_numbers(part) for key, part in members.items()}
    if isinstance(value, _ARRAYS):
        return [with_numbers(part) for part in cast("list[Any]", value)]
    if isinstance(value, Enum):
        return with_numbers(value.value)
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        changes_only: bool = getattr(value, "__partial__", False)
        kind: type[Any] = type(value)
        return serializer_of(kind).to_python(value, mode="json", by_alias=True, exclude_unset=changes_only)
    return value


def _name(key: Any) -> Any:
    return str(json_number(key)) if isinstance(key, Decimal) else key


_NUMBER = core_schema.plain_serializer_function_ser_schema(
    json_number,
    when_used="json",
    return_schema=core_schema.union_schema([core_schema.int_schema(), core_schema.float_schema()]),
)
_ANYTHING = core_schema.plain_serializer_function_ser_schema(
    with_numbers, when_used="json", return_schema=core_schema.any_schema()
)


def apply_number_rules(schema: Any) -> bool:
    """Make a schema write every Decimal as a JSON number; returns whether it did not before."""
    changed = False
    for node in nodes(schema):
        kind = node.get("type")
        if kind in ("decimal", "any") and "serialization" not in node:
            node["serialization"] = _NUMBER if kind == "decimal" else _ANYTHING
            changed = True
        elif kind == "model" and (fields := _fields_with_extras(node)) is not None:
            fields["extras_schema"] = core_schema.any_schema(serialization=_ANYTHING)
            changed = True
    return changed


def _fields_with_extras(model: Node) -> Node | None:
    """The fields of a model that keeps others too, if nothing is said about those yet."""
    if model.get("config", {}).get("extra_fields_behavior") != "allow":
        return None
    node = leaf_of(model)
    return node if node.get("type") == "model-fields" and "extras_schema" not in node else None


def _writes_nan(kind: type[Any]) -> bool:
    """True if NaN is written, to be found and refused; pydantic's own way is to write null."""
    return getattr(kind, "model_config", {}).get("ser_json_inf_nan") == "constants"


_NAN_AS_SUCH: core_schema.CoreConfig = {"ser_json_inf_nan": "constants"}
_serializers: dict[type[Any], SchemaSerializer] = {}


def serializer_of(kind: type[Any]) -> SchemaSerializer:
    """The serializer of a model or a dataclass that writes Decimals as numbers; its own, if that does."""
    found = _serializers.get(kind)
    if found is None:
        adapter = TypeAdapter[Any](kind)
        copied = copy_schema(adapter.core_schema, _stand_in)
        own_fits = not apply_number_rules(copied) and _writes_nan(kind)
        found = adapter.serializer if own_fits else SchemaSerializer(copied, _NAN_AS_SUCH)
        _serializers[kind] = found
    return found


class _StandIn(type):
    """Type of classes whose objects are those of another class.

    pydantic does not look into the schema of a class that has a serializer already; this one has none.
    """

    original: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.original)


def _stand_in(original: type) -> type:
    return _StandIn(original.__name__, (), {"original": original})
