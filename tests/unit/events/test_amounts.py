"""Numbers as JavaScript writes them: rounded and counted when they are read, refused when they are written."""

from __future__ import annotations

import json
import logging
from decimal import ROUND_HALF_EVEN, Decimal
from threading import Thread
from typing import Annotated, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, create_model, model_validator

from eventzr_kafka import CloudEvent, Currency, EventData, Money, Number, PayloadError, Written, decode, encode
from eventzr_kafka.codec import rounding
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.rounding import RoundedAmount, rounded_amounts
from eventzr_kafka.errors import InvalidDataError
from eventzr_kafka.events.amounts import digits_of
from eventzr_kafka.events.core_schema import nodes, schema_of
from eventzr_kafka.kafka.record import Record

TOPIC = "tests.amounts.paid.v1"
CANARY = "987654321.123"


class Fee(EventData):
    amount: Money
    currency: Currency | None = None


class Paid(EventData, topic=TOPIC):
    amount: Written[Money]
    currency: Written[Currency]
    tip: Annotated[Money | None, Field(description="Optional.")] = None
    fees: list[Fee] | None = None
    points: Number | None = None
    next: Paid | None = None


@pytest.fixture(autouse=True)
def no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_counts", type(rounding._counts)())


def read(amount: str, currency: str | None = "USD") -> Decimal | None:
    text = f'{{"amount": {amount}, "currency": {json.dumps(currency)}}}'
    return Paid.model_validate_json(text).amount


def record(data: str, source: str = "wallet-svc", more: str = "") -> Record:
    head = f'{{"specversion": "1.0", "id": "1", "source": "{source}", "type": "{TOPIC}", "tenantid": "t"{more}'
    return Record(TOPIC, 0, 0, b"t", f'{head}, "data": {data}}}'.encode(), STRUCTURED_HEADERS)


@pytest.mark.parametrize(
    ("number", "currency", "amount"),
    [
        ("3.3000000000000003", "USD", "3.3"),
        ("0.1", "USD", "0.1"),
        ("12.345", "USD", "12.34"),
        ("12.355", "USD", "12.36"),
        ('"12.345"', "USD", "12.34"),
        ("1e3", "USD", "1000"),
        ("1234.5", "JPY", "1234"),
        ("1235.5", "JPY", "1236"),
        ("1.2345", "KWD", "1.234"),
        ("1.23456", "CLF", "1.2346"),
        ("1.23456", "XYZ", "1.2346"),
        ("1.23456", None, "1.2346"),
        ("999999999999999", "USD", "999999999999999"),
        ("4.440892098500626e-16", "USD", "0"),
        ('"12345678901234567890.12"', "USD", "12345678901234567890.12"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(number: str, currency: str | None, amount: str) -> None:
    found = read(number, currency)
    assert (str(found), type(found)) == (amount, Decimal)


@given(st.integers(0, 10**15 - 1), st.sampled_from(["USD", "JPY", "KWD", "CLF"]), st.integers(1, 9))
def test_any_sum_of_a_javascript_program_is_read_as_meant(units: int, currency: str, times: int) -> None:
    digits = digits_of(currency)
    meant = Decimal(units % 10**12).scaleb(-digits)
    noisy = float(meant) * times / times * (1 + 2**-52)
    assert read(json.dumps(noisy), currency) == meant


@given(st.decimals(0, Decimal(10**12), places=6))
def test_rounding_is_half_even(amount: Decimal) -> None:
    assert read(f'"{amount}"') == amount.quantize(Decimal("0.01"), ROUND_HALF_EVEN)


@pytest.mark.parametrize(
    "number",
    ["1e15", "1234567890123456", "-0.01", '"NaN"', '"Infinity"', '"0x1"', "true", "[]", f'"{"1" * 61}"'],
)
def test_a_number_that_cannot_be_meant_is_refused(number: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read(number)
    assert [fault["type"] for fault in refused.value.errors()] == ["number"]


def test_a_number_beyond_15_digits_is_exact_as_a_string_alone() -> None:
    """A JSON number beyond a double's digits is rounded by the parser, before a Decimal sees it."""
    assert Paid.model_validate_json('{"points": 4.3333333333333333333}').points == Decimal("4.333333333333333")
    assert Paid.model_validate_json('{"points": "4.3333333333333333333"}').points == Decimal("4.3333333333333333333")


@pytest.mark.parametrize("amount", [Decimal("12.345"), 3.3000000000000003])
def test_a_constructor_refuses_more_digits_than_the_currency(amount: Any) -> None:
    with pytest.raises(PayloadError) as caught:
        Paid(amount=amount, currency="USD")
    assert str(caught.value) == "Paid: Paid.amount has more digits than its currency: round it"
    assert Paid(amount=Decimal("12.345"), currency="KWD").amount == Decimal("12.345")


def test_what_was_read_before_is_not_blamed_on_a_constructor() -> None:
    read("12.345")
    assert Paid(amount=Decimal(1), currency="USD").amount == 1


def test_amount_of_a_payload_that_makes_another_is_refused() -> None:
    class Checked(EventData):
        amount: Money
        currency: Currency

        @model_validator(mode="after")
        def look(self) -> Self:
            Fee(amount=Decimal("1.23"), currency="USD")
            return self

    with pytest.raises(PayloadError) as caught:
        Checked(amount=Decimal("1.005"), currency="USD")
    assert caught.value.too_fine == ("test_amount_of_a_payload_that_makes_another_is_refused.<locals>.Checked.amount",)


def test_readings_of_other_threads_hide_no_amount() -> None:
    class Meanwhile(EventData):
        amount: Money
        currency: Currency

        @model_validator(mode="after")
        def read_elsewhere(self) -> Self:
            thread = Thread(target=decode, args=(record('{"amount": 0.001, "currency": "USD"}'),))
            thread.start()
            thread.join()
            return self

    with pytest.raises(PayloadError):
        Meanwhile(amount=Decimal("1.005"), currency="USD")
    assert list(rounded_amounts().values()) == [1]


class Split(EventData):
    currency: Currency
    shares: list[Money] | None = None
    by_seller: dict[str, Money] | None = None
    price: Money | str = ""


@pytest.mark.parametrize(("currency", "share"), [("USD", "1.24"), ("JPY", "1"), ("KWD", "1.236")])
def test_amounts_in_lists_and_objects_are_rounded(currency: str, share: str) -> None:
    data = f'{{"currency": "{currency}", "shares": [1.2355, 2], "bySeller": {{"a": "1.2355"}}, "price": "free"}}'
    split = Split.model_validate_json(data)
    assert (split.shares, split.by_seller) == ([Decimal(share), Decimal(2)], {"a": Decimal(share)})
    assert split.price == "free"
    with pytest.raises(PayloadError) as caught:
        Split(currency=currency, shares=[Decimal("1.2355")])
    assert caught.value.too_fine == ("Split.shares",)


@pytest.mark.parametrize("amount", [Decimal("1e56"), "1e99"])
def test_an_amount_too_long_to_be_rounded_is_refused(amount: Any) -> None:
    with pytest.raises(ValidationError, match="Input should be a number"):
        Paid(amount=amount, currency="XXX")
    assert Paid(amount=Decimal("1e55"), currency="XXX").amount == Decimal("1e55")


def test_parts_and_optional_amounts_are_rounded() -> None:
    data = (
        '{"tip": 0.125, "currency": "USD", "fees": [{"amount": 1.005, "currency": "JPY"}], "next": {"amount": 2.00001}}'
    )
    paid = Paid.model_validate_json(data)
    assert paid.fees is not None
    assert paid.next is not None
    assert (paid.tip, paid.fees[0].amount, paid.next.amount) == (Decimal("0.12"), Decimal(1), Decimal(2))


@pytest.mark.parametrize("more", ["", ', "note": "\\u00e4"'], ids=["quick", "careful"])
def test_decoding_counts_and_logs_once_per_source(more: str, caplog: pytest.LogCaptureFixture) -> None:
    data = f'{{"amount": {CANARY}, "currency": "USD", "fees": [{{"amount": 0.001}}]}}'
    with caplog.at_level(logging.WARNING):
        for source in ("wallet-svc", "wallet-svc", "tickets-svc"):
            decode(record(data, source, more))
    assert rounded_amounts() == {
        RoundedAmount(TOPIC, "wallet-svc", "Paid.amount"): 2,
        RoundedAmount(TOPIC, "tickets-svc", "Paid.amount"): 1,
    }
    assert [entry.getMessage().partition(" with")[0] for entry in caplog.records] == [
        f"{TOPIC}: source 'wallet-svc' sends Paid.amount",
        f"{TOPIC}: source 'tickets-svc' sends Paid.amount",
    ]
    assert CANARY not in caplog.text


def test_a_plain_amount_is_not_counted() -> None:
    decode(record('{"amount": 12.5, "currency": "USD", "tip": 1.234}'.replace(', "tip": 1.234', "")))
    assert rounded_amounts() == {}


def test_what_other_threads_or_readings_round_is_not_counted() -> None:
    thread = Thread(target=read, args=("12.345",))
    thread.start()
    thread.join()
    read("12.345")
    decode(record('{"amount": 1, "currency": "USD"}'))
    assert rounded_amounts() == {}


def test_sources_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_MOST", 2)
    for source in "abcd":
        decode(record('{"amount": 0.001, "currency": "USD"}', source))
    assert [(amount.source, count) for amount, count in rounded_amounts().items()] == [("a", 1), ("b", 1), ("*", 2)]


def test_long_sources_are_counted_by_their_start() -> None:
    decode(record('{"amount": 0.001, "currency": "USD"}', "s" * 5000))
    assert [len(amount.source) for amount in rounded_amounts()] == [200]


def test_a_rounded_event_can_be_published_again() -> None:
    event = decode(record('{"amount": 3.3000000000000003, "currency": "USD"}'))
    assert json.loads(encode(event).value or b"")["data"] == {"amount": 3.3, "currency": "USD"}


def test_a_refused_number_is_named_without_its_value() -> None:
    with pytest.raises(InvalidDataError) as caught:
        decode(record('{"amount": -987654321, "currency": "USD"}'), Paid)
    assert caught.value.reason == "data.amount: Input should be a number of 0 or more, below 10^15 or in a string"


def test_numbers_are_numbers_in_the_written_schema() -> None:
    written = Paid.model_json_schema(mode="serialization")["$defs"]["Paid"]["properties"]
    assert written["amount"]["type"] == "number"
    assert isinstance(CloudEvent.of(Paid).json_schema(), dict)


def test_models_that_hold_a_class_do_not_change_its_schema() -> None:
    before = len(list(nodes(schema_of(Fee))))
    for _ in range(3):
        create_model("Holder", fee=(Fee, ...))
    assert len(list(nodes(schema_of(Fee)))) == before


def test_subclass_rounds_its_own_amounts_too() -> None:
    class Late(Fee):
        interest: Money

    late = Late.model_validate_json('{"amount": 1.005, "interest": 2.345, "currency": "USD"}')
    assert (late.amount, late.interest) == (Decimal(1), Decimal("2.34"))
