"""Facts about pydantic's core schemas that `eventzr_kafka.events.core_schema` and its users rely on.

A test that fails here after an update of pydantic names the version and the part that has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from operator import is_
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    RootModel,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic.version import VERSION
from pydantic_core import CoreSchema, SchemaSerializer, SchemaValidator, core_schema
from typing_extensions import TypedDict

from eventzr_kafka.events.attributes import Moment
from eventzr_kafka.events.core_schema import (
    LISTS,
    Node,
    choices_of,
    copy_schema,
    fields_of,
    find_node,
    inner_schemas,
    items_of,
    leaf_of,
    literals_of,
    nodes,
    parts,
    schema_of,
    unwrap,
)

T = TypeVar("T")


class Colour(Enum):
    RED = "red"


class Thing(BaseModel):
    model_config = ConfigDict(extra="allow")

    plain: str
    price: Decimal | None = None
    named: int = Field(validation_alias="namedOnTheWire")
    either: int = Field(1, validation_alias=AliasChoices("one", "other"))
    anything: Any = None


class Judged(Thing):
    @model_validator(mode="after")
    def judge(self) -> Judged:
        return self


class Envelope(BaseModel, Generic[T]):
    data: T


class Tree(BaseModel):
    branches: list[Tree] = []


class Members(TypedDict):
    n: int


def relied_on(part: str, found: object, expected: object) -> None:
    """Compare a part of a schema with what this project relies on."""
    assert found == expected, f"pydantic {VERSION}: {part} is {found!r}, and not {expected!r}"


def node_of(annotation: Any) -> Node:
    return cast("Node", TypeAdapter[Any](annotation).core_schema)


def fields() -> Node:
    return cast("Node", find_node(schema_of(Thing), "model-fields")["fields"])


def test_model_holds_its_class_and_its_config() -> None:
    model = schema_of(Thing)
    relied_on("'type' of a model", model.get("type"), "model")
    relied_on("'cls' of a model", model.get("cls"), Thing)
    relied_on("'extra_fields_behavior' of its 'config'", model.get("config", {}).get("extra_fields_behavior"), "allow")
    relied_on("'schema' of a model", model.get("schema", {}).get("type"), "model-fields")


def test_model_fields_is_below_validators() -> None:
    whole = schema_of(Judged)
    relied_on("outer node of a model with a validator", whole.get("type"), "function-after")
    relied_on("the model below a validator", find_node(whole, "model").get("cls"), Judged)
    relied_on("the innermost node of a model", leaf_of(whole).get("type"), "model-fields")
    relied_on("a model without its validators", unwrap(whole, {"function-after"}).get("type"), "model")


def test_field_validator_stays_inside_its_field() -> None:
    class Checked(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def check(cls, value: int) -> int:
            return value

    field = find_node(schema_of(Checked), "model-fields")["fields"]["n"]
    relied_on("'schema' of a validated field", field.get("schema", {}).get("type"), "function-after")


def test_model_field_holds_schema_and_default() -> None:
    relied_on("'type' of a field", fields()["plain"].get("type"), "model-field")
    relied_on("'schema' of 'model-field'", fields()["plain"].get("schema", {}).get("type"), "str")
    optional = fields()["price"].get("schema", {})
    relied_on("'schema' of an optional 'model-field'", optional.get("type"), "default")
    relied_on("'default' of an optional field", optional.get("default", ...), None)
    relied_on("'schema' of a default", optional.get("schema", {}).get("type"), "nullable")
    relied_on("what is nullable", unwrap(optional, {"default", "nullable"}).get("type"), "decimal")
    relied_on("node of Any", leaf_of(fields()["anything"]).get("type"), "any")


def test_validate_default_is_a_key_of_the_default() -> None:
    class Ready(BaseModel):
        n: int = Field(default=1, validate_default=True)

    (field,) = fields_of(find_node(schema_of(Ready), "model-fields"))
    relied_on("'validate_default' of a default", field.schema.get("validate_default"), True)


def test_aliases_stand_in_the_field() -> None:
    found = {field.name: field.names for field in fields_of(find_node(schema_of(Thing), "model-fields"))}
    relied_on("name of a field without alias", found["plain"], {"plain"})
    relied_on("'validation_alias' of a text", found["named"], {"namedOnTheWire"})
    relied_on("'validation_alias' of choices", found["either"], {"either", "one", "other"})


def test_typed_dicts_and_dataclasses_have_fields() -> None:
    @dataclass
    class Point:
        x: int

    typed = node_of(Members)
    relied_on("fields of 'typed-dict'", [field.name for field in fields_of(typed)], ["n"])
    arguments = find_node(node_of(Point), "dataclass-args")
    relied_on("fields of 'dataclass-args'", [field.name for field in fields_of(arguments)], ["x"])


@pytest.mark.parametrize("kind", [list[int], set[int], frozenset[int], tuple[int, ...]])
def test_lists_hold_items_schema(kind: Any) -> None:
    node = node_of(kind)
    relied_on(f"'type' of {kind} among the lists", node.get("type") in LISTS, expected=True)
    relied_on(f"'items_schema' of {kind}", [item.get("type") for item in items_of(node)], ["int"])
    SchemaValidator(core_schema.list_schema(core_schema.int_schema(), fail_fast=True))


def test_dicts_hold_values_schema() -> None:
    relied_on("'values_schema' of a dict", node_of(dict[str, int]).get("values_schema", {}).get("type"), "int")


def test_unions_hold_choices() -> None:
    def kind_of(value: Any) -> str:
        return type(value).__name__

    tagged = Annotated[Annotated[int, Tag("int")] | Annotated[str, Tag("str")], Discriminator(kind_of)]
    relied_on("'choices' of a union", [node["type"] for node in choices_of(node_of(int | str))], ["int", "str"])
    relied_on("type of a tagged union", node_of(tagged).get("type"), "tagged-union")
    relied_on(
        "'choices' of a tagged union", [leaf_of(node)["type"] for node in choices_of(node_of(tagged))], ["int", "str"]
    )


def test_literals_and_enums_hold_their_values() -> None:
    relied_on("'expected' of a literal", literals_of(node_of(Literal["a", Colour.RED])), ["a", "red"])
    relied_on("'members' of an enum", literals_of(node_of(Colour)), ["red"])


def test_generic_model_holds_the_payload_in_its_field() -> None:
    data = find_node(schema_of(Envelope[Thing]), "model-fields")["fields"]["data"]
    relied_on("'cls' of the payload in a generic model", find_node(data["schema"], "model").get("cls"), Thing)


def test_definition_ref_names_a_ref() -> None:
    whole = schema_of(Tree)
    relied_on("outer node of a recursive model", whole.get("type"), "definitions")
    definitions = {node["ref"]: node for node in nodes(whole) if isinstance(node.get("ref"), str)}
    found = next((node for node in nodes(whole) if node.get("type") == "definition-ref"), None)
    relied_on("a 'definition-ref' in a recursive model", found is not None, expected=True)
    assert found is not None
    relied_on("'schema_ref'", inner_schemas(found, definitions)[0].get("cls"), Tree)
    relied_on("'definitions'", [node.get("cls") for node in whole.get("definitions", [])], [Tree])


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Annotated[int, AfterValidator(abs)], "function-after"),
        (Moment, "custom-error"),
    ],
)
def test_wrappers_hold_schema(annotation: Any, kind: str) -> None:
    node = node_of(annotation)
    relied_on(f"'type' of {annotation}", node.get("type"), kind)
    relied_on(f"schemas in {kind!r}", len(inner_schemas(node, {})), 1)


def test_json_or_python_and_chain_hold_schemas() -> None:
    both = core_schema.json_or_python_schema(core_schema.int_schema(), core_schema.str_schema())
    chain = core_schema.chain_schema([core_schema.str_schema(), core_schema.int_schema()])
    for part, node in (("'json-or-python'", both), ("'chain'", chain)):
        found = inner_schemas(dict(node), {})
        relied_on(f"schemas in {part}", sorted(inner["type"] for inner in found), ["int", "str"])


def test_custom_error_has_type_and_message() -> None:
    node = node_of(Moment)
    relied_on("'custom_error_type'", isinstance(node.get("custom_error_type"), str), expected=True)
    relied_on("'custom_error_message'", str(node.get("custom_error_message")).startswith("must be "), expected=True)


def test_class_with_hooks_is_marked() -> None:
    class Posted(BaseModel):
        def model_post_init(self, _context: Any) -> None: ...

    class Custom(BaseModel):
        n: int

        def __init__(self, **given: Any) -> None:
            super().__init__(**given)

    relied_on("'post_init' of a model", schema_of(Posted).get("post_init"), "model_post_init")
    relied_on("'custom_init' of a model", schema_of(Custom).get("custom_init"), True)
    relied_on("'root_model' of a model", schema_of(RootModel[int]).get("root_model"), True)


def test_excluded_if_is_a_key_of_the_field() -> None:
    class Brief(BaseModel):
        n: int | None = None

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
            schema = handler(source)
            for node in nodes(schema):
                if node.get("type") == "model-field":
                    node["serialization_exclude_if"] = partial(is_, None)
            return schema

    relied_on("what 'serialization_exclude_if' leaves", Brief().model_dump(), {})


def test_serialization_of_a_node_is_used() -> None:
    whole = core_schema.decimal_schema(serialization=core_schema.plain_serializer_function_ser_schema(float))
    relied_on("'serialization' of a node", SchemaSerializer(whole).to_python(Decimal(1), mode="json"), 1.0)


@pytest.mark.parametrize(
    "name",
    [
        "__pydantic_validator__",
        "__pydantic_serializer__",
        "__pydantic_core_schema__",
        "__pydantic_fields__",
        "__pydantic_complete__",
    ],
)
def test_model_has_the_attribute(name: str) -> None:
    relied_on(f"{name} of a model", hasattr(Thing, name), expected=True)


def test_instance_holds_unknown_fields() -> None:
    thing = Thing.model_validate({"plain": "a", "namedOnTheWire": 1, "more": 2})
    relied_on("__pydantic_extra__", thing.__pydantic_extra__, {"more": 2})
    relied_on("__pydantic_fields_set__", thing.__pydantic_fields_set__, {"plain", "named", "more"})


# The walk itself


def test_missing_part_is_named_with_the_version() -> None:
    with pytest.raises(LookupError) as caught:
        find_node({"type": "model"}, "model-fields")
    assert str(caught.value) == f"pydantic {VERSION}: 'model' has no 'schema', on the way to 'model-fields'"


def test_walk_sees_what_is_added_to_a_node() -> None:
    schema: Node = {"type": "nullable"}
    seen: list[str] = []
    for node in nodes(schema):
        seen.append(node["type"])
        if node["type"] == "nullable":
            node["schema"] = {"type": "int"}
    assert seen == ["nullable", "int"]


def test_walk_leaves_out_what_is_not_read() -> None:
    schema: Node = {"type": "int", "metadata": {"a": 1}, "serialization": {"type": "any"}, "default": {"b": 2}}
    assert list(nodes(schema)) == [schema]
    assert {"any", 1, 2} <= {part for part in parts(schema) if not isinstance(part, dict)}


def test_copy_shares_no_node() -> None:
    copied = copy_schema(schema_of(Thing), lambda _kind: datetime)
    assert copied["cls"] is datetime
    originals = {id(node) for node in nodes(schema_of(Thing))}
    assert not any(id(node) in originals for node in nodes(copied))
