"""Words of a `DecodeError`: what they say, and that no validator of a team can make them show payload."""

import json
import traceback
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_core._pydantic_core import list_all_errors

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.errors import DecodeError

TOPIC = "test.refusal.thing.v1"
SECRET = "s3cr3t"  # noqa: S105 -- payload, which no error may show
CARD = 4111_1111_1111_1111
BASE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "svc", "type": TOPIC, "tenantid": "acme"}
HEADERS = encode(CloudEvent[Any](**BASE)).headers


def refuse(data_type: Any, data: Any, **more: Any) -> DecodeError:
    value = json.dumps({**BASE, "data": data, **more}).encode()
    with pytest.raises(DecodeError) as caught:
        decode(Record(TOPIC, 0, 0, b"acme", value, HEADERS), data_type)
    error = caught.value
    shown = "".join([str(error), repr(error), error.reason, *traceback.format_exception(error)])
    assert SECRET not in shown
    assert str(CARD) not in shown
    return error


def refused_by(fault: Callable[[Any], BaseException]) -> str:
    """The reason, for a field whose validator raises what this makes of the payload."""

    def check(value: Any) -> Any:
        raise fault(value)

    class Thing(EventData):
        name: Annotated[str, AfterValidator(check)]

    return refuse(Thing, {"name": SECRET}).reason


KINDS = [each["type"] for each in list_all_errors()]


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_named_like_one_of_pydantic_shows_its_text(kind: str) -> None:
    reason = refused_by(lambda value: PydanticCustomError(cast("Any", kind), value + " {secret}", {"secret": value}))
    assert reason.startswith("data.name: ")


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_of_pydantics_own_shows_its_context(kind: str) -> None:
    context = next(each["example_context"] for each in list_all_errors() if each["type"] == kind) or {}

    def fault(value: str) -> PydanticKnownError:
        given = {name: value if isinstance(example, str) else example for name, example in context.items()}
        return PydanticKnownError(cast("Any", kind), given)

    assert refused_by(fault).startswith("data.name: ")


def _custom(kind: Any) -> Callable[[str], BaseException]:
    return lambda value: PydanticCustomError(kind, "{a}", {"a": value})


def _known(kind: Any, **context: str) -> Callable[[str], BaseException]:
    return lambda _value: PydanticKnownError(kind, cast("Any", context))


@pytest.mark.parametrize(
    "fault",
    [
        ValueError,
        AssertionError,
        KeyError,
        _custom("attribute"),
        _custom("moment"),
        _custom("own"),
        _known("json_invalid", error=f"{SECRET} at line 1 column 2"),
        _known("string_pattern_mismatch", pattern=SECRET),
    ],
)
def test_a_validators_own_text_is_never_shown(fault: Callable[[str], BaseException]) -> None:
    assert refused_by(fault).startswith("data")


@pytest.mark.parametrize("keys", [dict[int, int], dict[str, int]])
def test_an_inner_validation_error_shows_no_keys(keys: Any) -> None:
    def check(_value: list[int]) -> list[int]:
        TypeAdapter(keys).validate_python({CARD if keys is dict[int, int] else SECRET: "x"})
        return []

    class Thing(EventData):
        numbers: Annotated[list[int], AfterValidator(check)]

    assert refuse(Thing, {"numbers": [1]}).reason.startswith("data.numbers.*")


def test_a_model_validators_inner_error_shows_no_keys() -> None:
    class Thing(EventData):
        numbers: list[int]

        @model_validator(mode="after")
        def _check(self) -> "Thing":
            TypeAdapter(dict[str, dict[int, int]]).validate_python({"numbers": {CARD: SECRET}})
            return self

    assert refuse(Thing, {"numbers": [1]}).reason.startswith("data.")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    size: int = Field(ge=1, le=9)


class Cat(EventData):
    kind: Literal["cat"]
    lives: int


class Dog(EventData):
    kind: Literal["dog"]


class Rich(EventData):
    short: str = Field(default="", min_length=2, max_length=3)
    few: list[str] = Field(default=[], max_length=1)
    colour: Colour = Colour.RED
    level: Literal["low", "middle", "high"] = "low"
    amount: Decimal = Field(default=Decimal(1), max_digits=4, multiple_of=0.5)
    parts: list[Part] = Field(default=[])
    named: dict[str, Part] = Field(default={})
    pair: tuple[int, str] = (1, "")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    either: list[int] | Part | None = None
    number: UUID | None = None
    code: str = Field(default="A", pattern="^[A-Z]$", validation_alias="theCode")
    inner: "Rich | None" = None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"short": "a"}, "data.short: String should have at least 2 characters"),
        ({"short": SECRET}, "data.short: String should have at most 3 characters"),
        ({"few": ["", ""]}, "data.few: List should have at most 1 item after validation"),
        ({"colour": SECRET}, "data.colour: Input should be 'red' or 'blue'"),
        ({"level": SECRET}, "data.level: Input should be 'low', 'middle' or 'high'"),
        ({"amount": 12345}, "data.amount: Decimal input should have no more than 4 digits in total"),
        ({"amount": 1.2}, "data.amount: Input should be a multiple of 0.5"),
        ({"amount": SECRET}, "data.amount: Input should be a valid decimal"),
        ({"parts": [{"size": 1}, {"size": 0}]}, "data.parts.1.size: Input should be greater than or equal to 1"),
        ({"parts": [{"size": SECRET}]}, "data.parts.0.size: Input should be a valid integer, unable to parse string"),
        ({"parts": {SECRET: 1}}, "data.parts: Input should be a valid array"),
        ({"parts": [7]}, "data.parts.0: Input should be an object"),
        ({"named": {SECRET: {"size": 0}}}, "data.named.*.size: Input should be greater than or equal to 1"),
        ({"pair": [1, 2]}, "data.pair.1: Input should be a valid string"),
        ({"pet": {"kind": SECRET}}, "data.pet: Input should have one of the tags of the union"),
        ({"pet": {"kind": "cat", "lives": SECRET}}, "data.pet.*.lives: Input should be a valid integer"),
        ({"either": [SECRET]}, "data.either.*.0: Input should be a valid integer"),
        ({"number": SECRET}, "data.number: Input should be a valid UUID"),
        ({"theCode": SECRET}, "data.theCode: String should match pattern '^[A-Z]$'"),
        ({"inner": {"inner": {"short": ""}}}, "data.inner.inner.short: String should have at least 2 characters"),
    ],
)
def test_the_words_name_field_and_rule(data: Any, reason: str) -> None:
    assert refuse(Rich, data).reason.startswith(reason)


@pytest.mark.parametrize("data_type", [dict[int, int], dict[str, dict[int, str]], list[dict[int, int]]])
def test_no_key_of_a_dict_is_shown(data_type: Any) -> None:
    for data in ({CARD: "x"}, {SECRET: {CARD: 1}}, [{CARD: "x"}]):
        refuse(data_type, data)


@pytest.mark.parametrize("name", [f"{SECRET}@example.com", str(CARD), f"{SECRET} of somebody"])
def test_a_member_that_looks_like_no_name_is_not_shown(name: str) -> None:
    assert refuse(Any, {}, **{name: {}}).reason.startswith("*: ")


def test_an_extension_of_a_wrong_name_is_shown() -> None:
    assert refuse(Any, {}, traceParent="a").reason == "traceParent: must be named with a-z and 0-9 only"
