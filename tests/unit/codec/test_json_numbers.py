"""Decimals wherever a payload may hold them: JSON numbers, or an error that names the field."""

import json
import traceback
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.errors import EncodeError
from eventzr_marketplace_events import ListingUpdated

TOPIC = "test.numbers.thing.v1"
HALF = Decimal("12.50")
CANARY = "s3cr3t"


class Plain(BaseModel):
    price: Decimal
    note: str | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    plain: Plain | None = None


class Other(BaseModel):
    amount: Decimal


@dataclass
class Sum:
    total: Decimal


class Rate(Enum):
    LOW = Decimal("0.5")


class Tree(BaseModel):
    weight: Decimal
    branches: "list[Tree]" = []


class Thing(EventData, topic=TOPIC):
    anything: Any = None
    plain: Plain | None = None
    many: list[Open] | None = None
    either: Other | Plain | None = None
    sum: Sum | None = None
    rates: dict[Decimal, int] | None = None
    tree: Tree | None = None
    inner: "Thing | None" = None
    number: float | None = None


def event(data: Any, kind: str = TOPIC) -> CloudEvent[Any]:
    return CloudEvent[Any](id="1", source="svc", type=kind, tenantid="acme", data=data)


def written(data: Any, kind: str = TOPIC) -> Any:
    return json.loads(encode(event(data, kind)).value or b"")["data"]


def test_an_undeclared_decimal_of_an_event_is_a_number() -> None:
    update = ListingUpdated.model_validate({"id": "1", "depositAmount": HALF, "more": {"a": [HALF]}})
    expected = {"id": "1", "depositAmount": 12.5, "more": {"a": [12.5]}}
    assert written(update, str(ListingUpdated.__topic__)) == expected
    assert json.loads(update.model_dump_json(exclude_unset=True)) == expected
    assert event(update).to_cloudevents().get_data() == expected


ANYWHERE: dict[str, tuple[Any, Any]] = {
    "bare": (HALF, 12.5),
    "in a list": ([1, HALF], [1, 12.5]),
    "in a tuple": ((HALF,), [12.5]),
    "in a set": ({HALF}, [12.5]),
    "deep in dicts": ({"a": {"b": [{"c": HALF}]}}, {"a": {"b": [{"c": 12.5}]}}),
    "as a name": ({HALF: 1}, {"12.5": 1}),
    "in a model": (Plain(price=HALF), {"price": 12.5, "note": None}),
    "undeclared in a model": (Open(more=[HALF]), {"plain": None, "more": [12.5]}),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    "in a model in a dict": ({"a": Plain(price=HALF)}, {"a": {"price": 12.5, "note": None}}),
    "in a dataclass": (Sum(HALF), {"total": 12.5}),
    "in an enum": (Rate.LOW, 0.5),
    "in a payload class": (Thing(plain=Plain(price=HALF)), {"plain": {"price": 12.5, "note": None}}),
    "in a model that holds itself": (
        Tree(weight=HALF, branches=[Tree(weight=HALF)]),
        {"weight": 12.5, "branches": [{"weight": 12.5, "branches": []}]},
    ),
}

anywhere = pytest.mark.parametrize(("value", "number"), ANYWHERE.values(), ids=ANYWHERE)


@anywhere
def test_a_decimal_in_a_field_of_any_type_is_a_number(value: Any, number: Any) -> None:
    assert written(Thing(anything=value)) == {"anything": number}


@anywhere
def test_a_decimal_in_an_undeclared_field_is_a_number(value: Any, number: Any) -> None:
    assert written(Thing.model_validate({"more": value})) == {"more": number}


@anywhere
def test_a_decimal_in_plain_data_is_a_number(value: Any, number: Any) -> None:
    assert written({"a": [value]}) == {"a": [number]}
    assert written(value) == number


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"plain": Plain(price=HALF)}, {"plain": {"price": 12.5, "note": None}}),
        ({"many": [Open(plain=Plain(price=HALF))]}, {"many": [{"plain": {"price": 12.5, "note": None}}]}),
        ({"either": Plain(price=HALF)}, {"either": {"price": 12.5, "note": None}}),
        ({"either": Other(amount=HALF)}, {"either": {"amount": 12.5}}),
        ({"sum": Sum(HALF)}, {"sum": {"total": 12.5}}),
        ({"rates": {HALF: 1}}, {"rates": {"12.5": 1}}),
        ({"tree": Tree(weight=HALF)}, {"tree": {"weight": 12.5, "branches": []}}),
        ({"inner": Thing(plain=Plain(price=HALF))}, {"inner": {"plain": {"price": 12.5, "note": None}}}),
    ],
)
def test_a_decimal_in_a_declared_class_is_a_number(fields: dict[str, Any], expected: Any) -> None:
    thing = Thing(**fields)
    assert written(thing) == expected
    out = encode(event(thing))
    assert decode(Record(TOPIC, 0, 0, out.key, out.value, out.headers)).data == thing


def test_a_class_of_pydantics_own_is_written_elsewhere_as_ever() -> None:
    written(Thing(plain=Plain(price=HALF), anything=Plain(price=HALF)))
    assert json.loads(Plain(price=HALF).model_dump_json()) == {"price": "12.50", "note": None}


BAD = [Decimal("NaN"), Decimal("-Infinity"), Decimal("0.12345678901234567"), Decimal("1E+400")]


def payloads_of(bad: Decimal) -> dict[str, Any]:
    """Payloads that hold a number at some place, by that place."""
    return {
        "data.depositAmount": Thing.model_validate({"depositAmount": bad}),
        "data.anything.1.*": Thing(anything=[1, {CANARY: bad}]),
        "data.anything.*": Thing(anything={bad: 1}),
        "data.plain.price": Thing(plain=Plain.model_construct(price=bad)),
        "data.many.0.plain.price": Thing(many=[Open(plain=Plain.model_construct(price=bad))]),
        "data.sum.total": Thing(sum=Sum(bad)),
        "data.*.0": {"a": [bad], CANARY: CANARY},
    }


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", payloads_of(HALF))
def test_a_decimal_that_json_cannot_carry_is_named_by_its_field(place: str, bad: Decimal) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(event(payloads_of(bad)[place]))
    assert f"{place}: " in str(caught.value)
    assert "15 digits" in str(caught.value) or "NaN or Infinity" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (float("nan"), "data.anything.0: NaN or Infinity"),
        (f"{CANARY}\ud800", "data.anything.0: a lone surrogate"),
        (CANARY.encode() + b"\xff", "data.anything.0: bytes that are not UTF-8"),
        (object(), "data.anything.0: a object has no JSON form"),
    ],
)
def test_any_value_that_json_cannot_carry_is_named_by_its_field(value: Any, fault: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(event(Thing(anything=[value])))
    assert fault in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
