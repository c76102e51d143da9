"""A first look at a record of very many values, which would be dear to refuse once it was read.

Refusing with pydantic's errors makes Python objects of whatever is wrong, again for each fault, and of every unknown
field: up to 3 s for 1 MiB. The first look makes none of them:

1. Undeclared fields are passed over; lists end with their first wrong item.
2. A field that does not fit is replaced by a mark, which costs nothing, in place of an error.
3. The envelope goes before the type, the type before the payload. Only the words are fewer: the field is named, and
   not the item of its list.

What passes is read as any other record; what the first look does not know of is refused there.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import SchemaValidator, core_schema

from eventzr_kafka.events.core_schema import Node, fields_of, find_node, leaf_of, schema_of, unwrap

__all__ = ["FirstLook", "Skimmer", "is_dear"]

_DEAR_BYTES = 16_384
_DEAR_VALUES = 10_000
# Bytes between those that are looked at. Lists have periods: primes meet all parts of one.
_STEPS = tuple(combinations((29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73), 2))
_SHOWN = 3
_SCALARS = (core_schema.str_schema, core_schema.bool_schema, core_schema.int_schema)
_LISTS = frozenset({"list", "set", "frozenset", "tuple"})  # the ones with fail_fast
_AFTER = frozenset({"function-after"})
_WRAPPERS = frozenset({"nullable", "default", "function-after", "custom-error"})
_ONES = frozenset({"str", "int", "float", "bool", "decimal", "literal", "date", "datetime", "time", "uuid", "url"})

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,39}")  # as in refusal


def is_dear(value: bytes) -> bool:
    """Return True if a JSON text may hold so many values that refusing it has to be cheap.

    An estimate: counting all of them takes a third of what reading a valid event takes. Steps and starts are random, so
    that no record can be built to hide its values between the steps.
    """
    if len(value) < _DEAR_BYTES:
        return False
    for step in secrets.choice(_STEPS):
        sample = value[secrets.randbelow(step) :: step]
        if (len(sample) - len(sample.translate(None, b",[{"))) * step > _DEAR_VALUES:
            return True
    return False


class FirstLook(NamedTuple):
    """The findings of a first look at a record.

    Attributes:
        attributes: Of the core, by name; those that do not fit are missing.
        envelope, data: What does not fit there, in words; None where all does.
        is_base64: The payload is in ``data_base64``, or both are there.
    """

    attributes: dict[str, Any]
    envelope: str | None
    data: str | None
    is_base64: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    words: str


class _StopError(Exception):
    """Ends a look at once. Unlike an error of pydantic, it holds no copy of what does not fit."""


def _stop(*_given: object) -> Any:
    raise _StopError


# An error of pydantic copies what it refuses. This finds an array or an object, which are arguments to pydantic, and
# ends the look at the field with the first thing in it.
_CONTAINER = core_schema.definition_reference_schema(f"{__name__}:container")
_ANYTHING = core_schema.union_schema(
    [_CONTAINER, core_schema.no_info_plain_validator_function(_stop)], mode="left_to_right"
)
_CONTAINERS = core_schema.no_info_after_validator_function(
    _stop,
    core_schema.arguments_schema([], var_args_schema=_ANYTHING, var_kwargs_schema=_ANYTHING),
    ref=_CONTAINER["schema_ref"],
)


class Skimmer:
    """Takes first looks at records of one event class, as it is read from the wire."""

    def __init__(self, model: type[BaseModel], *, max_extensions: int) -> None:
        whole = schema_of(model)
        definitions: list[Any] = whole.get("definitions", [])
        fields: Node = find_node(whole, "model-fields")["fields"]
        payload: Node = fields["data"]["schema"]
        self._max_extensions = max_extensions
        self._requires_data = payload.get("validate_default") is True and _is_class(_unvalidated(payload["schema"]))
        data = _payload(payload["schema"])
        self._data = _validator(data, definitions)
        marked = {name: _marked(field) for name, field in fields.items() if name != "data"}
        marked["data"] = cast("Node", core_schema.model_field(core_schema.with_default_schema(data, default=None)))
        text, yes, number = (make(strict=True) for make in _SCALARS)
        scalar = core_schema.union_schema([text, yes, number], mode="left_to_right")
        root = core_schema.model_fields_schema(
            cast("Any", marked),
            extras_keys_schema=core_schema.with_info_after_validator_function(self._count, core_schema.str_schema()),
            extras_schema=_or_mark(core_schema.nullable_schema(scalar), "does not fit", scalar=True),
            extra_behavior="allow",
        )
        self._event = _validator(root, definitions)

    def _count(self, name: str, info: core_schema.ValidationInfo[list[str]]) -> str:
        info.context.append(name)
        if len(info.context) > self._max_extensions:
            raise _StopError
        return name

    def look(self, value: bytes) -> FirstLook:
        """Look at a record in structured mode.

        Raises:
            pydantic.ValidationError: The value is not a JSON object.
        """
        try:
            found, extras, present = self._event.validate_json(value, by_name=False, context=[])
        except _StopError:
            return FirstLook({}, f"more than {self._max_extensions} extension attributes", None)
        attributes = {name: part for name, part in found.items() if name != "data"}
        faults = _faults(attributes)
        faults += [_fault_of_extension(name) for name, part in extras.items() if isinstance(part, _Mark)]
        if "data" in present and extras.get("data_base64") is not None:
            faults.append("data and data_base64 exclude each other")
        fits = {name: part for name, part in attributes.items() if not isinstance(part, _Mark)}
        if "data_base64" in extras:
            data = None  # it is what the payload is in, or too much beside it
        elif "data" in present:
            data = _fault_of(found["data"])
        else:
            data = "data: Field required" if self._requires_data else None
        return FirstLook(fits, "; ".join(faults[:_SHOWN]) or None, data, "data_base64" in extras)

    def look_at_data(self, value: bytes) -> str | None:
        """Name what does not fit in a payload that stands alone; None where all fits.

        Raises:
            pydantic.ValidationError: The value is not JSON.
        """
        return _fault_of(self._data.validate_json(value, by_name=False))


def _faults(found: dict[str, Any], start: str = "") -> list[str]:
    return [f"{start}{name}: {part.words}" for name, part in found.items() if isinstance(part, _Mark)]


def _fault_of_extension(name: str) -> str:
    if name == "data_base64":
        return "data_base64: must be a base64 string"
    shown = name if _NAME.fullmatch(name) else "*"
    return f"{shown}: must be a string without control characters, a boolean or a signed 32-bit integer"


def _fault_of(data: Any) -> str | None:
    if isinstance(data, _Mark):
        return f"data: {data.words}"
    faults = _faults(cast("dict[str, Any]", data), "data.") if isinstance(data, dict) else []
    return "; ".join(faults[:_SHOWN]) or None


# From the schema of a class to that of a first look


def _validator(schema: Any, definitions: list[Any]) -> SchemaValidator:
    return SchemaValidator(core_schema.definitions_schema(schema, [*definitions, _CONTAINERS]))


def _is_class(schema: Node) -> bool:
    """Return True for a plain payload class. One with validators of the whole wants to see all of it."""
    usual = schema["type"] == "model" and _unvalidated(schema["schema"])["type"] == "model-fields"
    return usual and not (schema.get("custom_init") or schema.get("post_init") or schema.get("root_model"))


def _or_mark(schema: Any, words: str, *, scalar: bool = False) -> core_schema.WithDefaultSchema:
    """A schema with a mark in place of its errors; a scalar gets it for arrays and objects without an error."""
    if scalar:
        schema = core_schema.union_schema([_CONTAINER, schema], mode="left_to_right")
    return core_schema.with_default_schema(schema, default=_Mark(words), on_error="default")


def _is_scalar(schema: Node) -> bool:
    """Return True for a schema that refuses every array and object, whatever it holds."""
    schema = unwrap(schema, _WRAPPERS)
    return schema["type"] in _ONES or schema.get("custom_error_type") in ("moment", "number")


def _marked(field: Node) -> Node:
    """A field that becomes a mark where it does not fit, and another one where it is missing and must not be."""
    inner: Node = field["schema"]
    schema = _or_mark(_skimmed(inner), _words(inner), scalar=_is_scalar(inner))
    if inner["type"] == "default":
        schema = core_schema.with_default_schema(schema, default=None)
    else:
        schema = core_schema.with_default_schema(schema, default=_Mark("Field required"))
    return {**field, "schema": schema}


def _words(schema: Node) -> str:
    """The rule that a field breaks, as far as its schema names one."""
    schema = leaf_of(schema, stop="custom-error")
    return str(schema.get("custom_error_message") or f"is not a valid {schema['type']}, or something in it is not")


def _unvalidated(schema: Node) -> Node:
    """A schema without its validators in mode "after": they judge what fits, and the whole reading runs them."""
    return unwrap(schema, _AFTER)


def _payload(schema: Node) -> Any:
    schema = _unvalidated(schema)
    if not _is_class(schema):
        return _or_mark(_skimmed(schema), "does not fit")
    return _or_mark(_as_dict(schema, mark=True), "Input should be an object")


def _as_dict(schema: Node, *, mark: bool) -> Node:
    """The fields of a class without the class: no object is made, and unknown fields are passed over."""
    fields: dict[str, Any] = {}
    for field in fields_of(_unvalidated(schema["schema"])):
        inner: Any = _marked(field.node)["schema"] if mark else _skimmed(field.schema)
        if not mark and field.schema["type"] != "default":  # an error would copy the whole object
            inner = core_schema.with_default_schema(inner, default_factory=_stop)
        fields[field.alias if isinstance(field.alias, str) else field.name] = core_schema.typed_dict_field(
            inner, required=False, validation_alias=field.alias
        )
    config = {**schema.get("config", {}), "extra_fields_behavior": "ignore"}
    return cast("Node", core_schema.typed_dict_schema(fields, extra_behavior="ignore", config=cast("Any", config)))


def _skimmed(schema: Node) -> Any:
    """The same rules, and less work; whatever is not known here stays as it is."""
    kind = schema["type"]
    if kind == "model" and _is_class(schema):
        return _as_dict(schema, mark=False)
    if kind in ("nullable", "default"):
        return {**schema, "schema": _skimmed(schema["schema"])}
    if kind in _LISTS:
        items = schema.get("items_schema")
        inner: Node = {"items_schema": _skimmed(cast("Node", items))} if isinstance(items, dict) else {}
        return {**schema, **inner, "fail_fast": True}
    if kind == "union" and schema.get("custom_error_type") == "spelling":  # the conversion of a spelling cannot fail
        choices = sorted(map(_unvalidated, schema["choices"]), key=_is_scalar, reverse=True)
        return {**schema, "choices": [_skimmed(choice) for choice in choices]}
    if kind == "union" and schema.get("custom_error_type") == "moment":  # each choice that fails copies what it refuses
        return core_schema.chain_schema([core_schema.str_schema(coerce_numbers_to_str=True), cast("Any", schema)])
    return schema
