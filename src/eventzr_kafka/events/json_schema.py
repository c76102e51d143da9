"""JSON Schemas of payload classes: as they are read, and as they are written.

1. ``model_json_schema()`` (``mode="validation"``) is what reading takes: `Written` fields may be absent or null.
2. ``model_json_schema(mode="serialization")`` is what the constructor makes: `Written` fields are required and have a
   value. An event that was read with less may be written with less.
3. The text below a field becomes its description. It is read from the source when a schema is made, and not when the
   class is: that would cost milliseconds at each import. Without the source there is no description.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any, cast

from pydantic import BaseModel

from eventzr_kafka.events.construction import demands_value, is_written

__all__ = ["adapt_json_schema", "descriptions_of"]


def adapt_json_schema(cls: type[BaseModel], schema: dict[str, Any], mode: str) -> None:
    """Change pydantic's schema of a payload class into that of rules 1 to 3.

    Args:
        schema: The class's own object schema.
        mode: ``validation`` or ``serialization``.
    """
    properties: dict[str, Any] = schema.get("properties", {})
    descriptions = descriptions_of(cls)
    required: list[str] = []
    for name, field in cls.model_fields.items():
        wire = next((key for key in (field.serialization_alias, field.alias, name) if key in properties), None)
        if wire is None:
            continue
        if name in descriptions:
            properties[wire].setdefault("description", descriptions[name])
        if mode == "serialization" and is_written(field):
            properties[wire].pop("default", None)
            if demands_value(field):
                properties[wire] = _without_null(properties[wire])
            if demands_value(field) or getattr(cls, "__partial__", False):  # a None of other classes is left out
                required.append(wire)
    if required:
        schema["required"] = [wire for wire in properties if wire in {*schema.get("required", ()), *required}]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return {**schema, "anyOf": choices} if choices else schema
    return {**choices[0], **{key: part for key, part in schema.items() if key != "anyOf"}}


def descriptions_of(cls: type[BaseModel]) -> dict[str, str]:
    """The texts below the fields of a class, by Python name; those of its bases too."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _own_descriptions(base)
    return found


@cache
def _own_descriptions(cls: type[BaseModel]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # no source, as in an interactive session
        return {}
    found: dict[str, str] = {}
    for field, text in pairwise(cast("ast.ClassDef", tree.body[0]).body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            words = text.value.value if isinstance(text.value, ast.Constant) else None
            if isinstance(words, str):
                found[field.target.id] = " ".join(words.split())
    return found
