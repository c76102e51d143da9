"""Calling a payload class is strict; reading, copying and pickling its objects are not."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, ValidationError

from eventzr_kafka import EventData, PayloadError, Written, WrittenOrNone, decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.producing.envelope import Enveloper

CANARY = "canary-7281"
T = TypeVar("T")


class Part(EventData):
    size: Written[int]


class Sent(EventData, topic="tests.construction.sent.v1", source="tests"):
    id: str
    seller_id: Written[str]
    price: WrittenOrNone[Decimal]
    part: Part | None = None
    count: int = 0


class SentTwice(Sent, topic="tests.construction.sent.twice.v1"):
    again: Written[bool]


class Box(EventData, Generic[T]):
    content: Written[T]


class Renamed(EventData):
    code: Annotated[str, Field(validation_alias=AliasChoices("Code", AliasPath("codes", 0)))]


class Later(EventData):
    inner: Written[LaterPart]


class LaterPart(EventData):
    size: Written[int]


def refused(call: Any, **fields: Any) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        call(**fields)
    return caught.value


def made(call: Any, *values: Any, **fields: Any) -> Any:
    """Call a class in a way that type checkers refuse."""
    return call(*values, **fields)


def sent(**fields: Any) -> Any:
    return made(Sent, **{"id": "1", "seller_id": "s", "price": None, **fields})


def test_a_misspelled_field_is_refused_with_the_one_meant() -> None:
    error = refused(sent, seler_id="x")
    assert str(error) == "Sent: unknown field 'seler_id' (did you mean 'seller_id'?)"
    assert (error.payload_class, error.unknown, error.missing) == ("Sent", {"seler_id": "seller_id"}, ())


def test_a_missing_field_is_refused_by_name() -> None:
    error = refused(Sent, id="1")
    assert str(error) == "Sent: missing when published: seller_id, price"
    assert error.missing == ("seller_id", "price")


def test_none_is_a_value_only_where_it_is_said() -> None:
    assert refused(sent, seller_id=None).missing == ("seller_id",)
    assert sent(price=None).price is None


def test_keywords_are_names_and_aliases() -> None:
    assert made(Sent, id="1", sellerId="s", price=1) == sent(price=Decimal(1))
    assert refused(Sent, id="1", sellerId=None, price=1).missing == ("seller_id",)
    assert made(Renamed, Code="a") == made(Renamed, codes=["a"]) == Renamed.model_validate({"Code": "a"})


@pytest.mark.parametrize("by_alias", [None, "s"])
def test_a_field_given_by_name_and_by_alias_is_refused(by_alias: str | None) -> None:
    given: dict[str, Any] = {"id": "1", "seller_id": "s", "sellerId": by_alias, "price": None}
    with pytest.raises(PayloadError) as caught:
        Sent(**given)
    assert caught.value.repeated == ("seller_id",)
    assert "seller_id is given twice, by name and by alias" in str(caught.value)


def test_a_field_may_have_any_name() -> None:
    class Seat(EventData):
        cls: str
        self: str
        args: int
        fields: int

    assert Seat(cls="first", self="s", args=1, fields=2).cls == "first"


def test_alias_is_no_keyword_where_pydantic_takes_none() -> None:
    class ByName(EventData):
        model_config = ConfigDict(validate_by_alias=False)
        seller_id: Written[str]

    assert ByName(seller_id="s").seller_id == "s"
    with pytest.raises(PayloadError) as caught:
        ByName(sellerId="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert (caught.value.unknown, caught.value.missing) == ({"sellerId": "seller_id"}, ("seller_id",))


def test_an_error_shows_no_value() -> None:
    for error in (refused(sent, zz=CANARY), refused(Sent, id=CANARY)):
        assert CANARY not in str(error)
        assert error.__context__ is None


def test_parts_and_subclasses_and_generics_are_as_strict() -> None:
    assert refused(Part).missing == ("size",)
    assert refused(SentTwice, id="1").missing == ("seller_id", "price", "again")
    assert refused(Box[int]).missing == ("content",)
    assert Box[int](content=1).content == 1


def test_a_class_that_refers_to_a_later_one_is_strict_too() -> None:
    assert refused(Later).missing == ("inner",)
    assert Later(inner=LaterPart(size=1)).inner == LaterPart(size=1)


def test_a_wrong_value_is_pydantics_error_as_before() -> None:
    with pytest.raises(ValidationError):
        sent(count="many")
    with pytest.raises(TypeError, match="positional"):
        made(Sent, "1")


def test_a_plain_field_without_a_default_is_required_both_ways() -> None:
    with pytest.raises(ValidationError):
        made(Sent, seller_id="s", price=1)
    with pytest.raises(ValidationError):
        Sent.model_validate({})


def test_reading_is_tolerant_and_keeps_unknown_fields() -> None:
    read = Sent.model_validate_json('{"id": "1", "part": {"colour": "red"}, "zz": 1}')
    assert (read.seller_id, read.part, read.model_extra) == (None, Part.model_validate({"colour": "red"}), {"zz": 1})
    for same in (pickle.loads(pickle.dumps(read)), copy.deepcopy(read), read.model_copy()):  # noqa: S301 -- the test's own
        assert same == read


def test_an_event_that_was_read_can_be_published_again() -> None:
    read = Sent.model_validate_json('{"id": "1", "part": {"colour": "red"}, "zz": 1}')
    out = encode(Enveloper("tests").build_event(read, tenant_id="t"))
    assert decode(Record(out.topic, 0, 0, *out[1:]), Sent).data == read


def test_a_part_inside_of_a_foreign_model_is_read_tolerantly() -> None:
    class Foreign(BaseModel):
        part: Part

    assert Foreign.model_validate({"part": {}}).part.size is None


class TestJsonSchema:
    def test_written_fields_are_required_in_the_written_schema_alone(self) -> None:
        assert Sent.model_json_schema()["required"] == ["id"]
        written = Sent.model_json_schema(mode="serialization")
        assert written["required"] == ["id", "sellerId"]  # a price that is None is left out
        assert written["properties"]["sellerId"] == {"title": "Sellerid", "type": "string"}

    def test_the_text_below_a_field_is_its_description(self) -> None:
        properties = Described.model_json_schema()["properties"]
        assert properties["weightInKg"]["description"] == "Weight in kg, such as 3."
        assert properties["own"]["description"] == "Said in the field."
        assert "description" not in properties["bare"]


class DescribedBase(EventData):
    weight_in_kg: int
    """Weight in kg,
    such as 3."""


class Described(DescribedBase):
    own: Annotated[int, Field(description="Said in the field.")]
    """Said below."""
    bare: int
