"""Reading the core schemas of pydantic: dicts, whose shape pydantic does not promise to keep.

All that this project knows of that shape is here and in ``tests/unit/events/test_core_schema.py``, which names the part
that a newer pydantic has changed. The rules for what is done with a schema stand where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, NamedTuple, TypeAlias, cast

from pydantic import VERSION, BaseModel

__all__ = [
    "LISTS",
    "Field",
    "Node",
    "choices_of",
    "copy_schema",
    "fields_of",
    "find_node",
    "inner_schemas",
    "items_of",
    "leaf_of",
    "literals_of",
    "nodes",
    "parts",
    "schema_of",
    "unwrap",
]

Node: TypeAlias = dict[str, Any]
"""A schema, or a field inside of one: a dict with the key ``type``, or one that holds such dicts."""

LISTS = frozenset({"list", "set", "frozenset", "tuple", "deque", "generator"})
"""Types of the nodes that an index of a place points into."""

_NO_SCHEMAS = frozenset({"serialization", "metadata", "default"})  # keys whose values are not part of what is read
_INSIDE = ("schema", "json_schema", "python_schema", "lax_schema", "strict_schema")


class Field(NamedTuple):
    """A field of a model, a TypedDict or a dataclass.

    Attributes:
        name: In Python.
        alias: On the wire, as pydantic keeps it: a text, or lists of paths.
        names: The names that the field goes by on the wire, with the parts of its paths.
        node: The field itself.
        schema: Of its value.
    """

    name: str
    alias: Any
    names: frozenset[str]
    node: Node
    schema: Node


def schema_of(model: type[BaseModel]) -> Node:
    """Return the core schema of a whole model."""
    return cast("Node", model.__pydantic_core_schema__)


def parts(schema: Any, *, skip: AbstractSet[str] = frozenset()) -> Iterator[Any]:
    """Walk through everything in a schema: nodes, and the values in them.

    A node may be changed when it is met; the walk sees what was added.

    Args:
        skip: Keys of nodes whose values are left out.
    """
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += [inner for key, inner in cast("Node", part).items() if key not in skip]
        elif isinstance(part, list | tuple):
            waiting += cast("Sequence[Any]", part)


def nodes(schema: Any) -> Iterator[Node]:
    """Walk through the nodes of a schema that are about values as they are read."""
    return (cast("Node", part) for part in parts(schema, skip=_NO_SCHEMAS) if isinstance(part, dict))


def copy_schema(schema: Any, new_class: Callable[[type[Any]], type[Any]]) -> Any:
    """Copy a schema, so that it shares no node with the class that it comes from.

    Args:
        new_class: Makes the class of a model or a dataclass in the copy.
    """
    if isinstance(schema, dict):
        node = {key: copy_schema(part, new_class) for key, part in cast("Node", schema).items()}
        if node.get("type") in ("model", "dataclass"):
            node["cls"] = new_class(node["cls"])
        return node
    if isinstance(schema, list | tuple):
        copied = [copy_schema(part, new_class) for part in cast("list[Any]", schema)]
        return copied if isinstance(schema, list) else tuple(copied)
    return schema


def _wrapped(node: Node) -> Node | None:
    inner = node.get("schema")
    return cast("Node", inner) if isinstance(inner, dict) else None


def find_node(schema: Node, kind: str) -> Node:
    """Return the node of a type that a schema is, or wraps.

    Raises:
        LookupError: There is none.
    """
    node = schema
    while node.get("type") != kind:
        inner = _wrapped(node)
        if inner is None:
            raise LookupError(f"pydantic {VERSION}: {node.get('type')!r} has no 'schema', on the way to {kind!r}")
        node = inner
    return node


def unwrap(schema: Node, kinds: AbstractSet[str]) -> Node:
    """Strip the outer nodes of these types from a schema."""
    while schema["type"] in kinds:
        schema = schema["schema"]
    return schema


def leaf_of(schema: Node, *, stop: str | None = None) -> Node:
    """Return the innermost schema that one wraps, or the first of the type `stop`."""
    while schema["type"] != stop and (inner := _wrapped(schema)) is not None:
        schema = inner
    return schema


def inner_schemas(node: Node, definitions: dict[str, Node]) -> list[Node]:
    """List the schemas in a node that add no part to the place of a fault: those that it wraps, refers to or chains.

    Args:
        definitions: Nodes with a ``ref``, by that.
    """
    if node["type"] == "definition-ref":
        return [definitions[node["schema_ref"]]]
    if node["type"] == "chain":
        return cast("list[Node]", node["steps"])
    return [node[key] for key in _INSIDE if isinstance(node.get(key), dict)]


def fields_of(node: Node) -> Iterator[Field]:
    """List the fields of a node ``model-fields``, ``typed-dict`` or ``dataclass-args``; others have none."""
    found: Any = node.get("fields", ())
    named: Any = cast("Node", found).items() if isinstance(found, dict) else [(each["name"], each) for each in found]
    for name, field in named:
        alias = field.get("validation_alias", name)
        names = {alias} if isinstance(alias, str) else {name, *_texts_in(alias)}
        yield Field(name, alias, frozenset(names), field, field["schema"])


def _texts_in(alias: Any) -> Iterator[str]:
    return (part for part in parts(alias) if isinstance(part, str))


def items_of(node: Node) -> list[Node]:
    """List the schemas of the items in a list: one for all, or one for each place of a tuple."""
    found: Any = node.get("items_schema") or []
    return cast("list[Node]", found if isinstance(found, list) else [found])


def choices_of(node: Node) -> list[Node]:
    """List the choices of a union, without their labels or tags."""
    named: Any = node["choices"]
    choices: list[Any] = list(cast("Node", named).values() if isinstance(named, dict) else named)
    return [choice[0] if isinstance(choice, tuple) else choice for choice in choices]


def literals_of(node: Node) -> list[Any]:
    """List the values of a Literal or an Enum; other nodes have none."""
    if node.get("type") == "literal":
        values: list[Any] = node["expected"]
    elif node.get("type") == "enum":
        values = node["members"]
    else:
        return []
    return [value.value if isinstance(value, Enum) else value for value in values]
