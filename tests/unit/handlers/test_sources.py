"""Which services a consumer listens to: `sources` of `@kafka_consumer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, Group

from eventzr_kafka import CloudEvent, EventData, Record, encode, kafka_consumer, on_message
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.errors import DecodeError, RoutingError, SourceNotAllowedError, TypeMismatchError
from eventzr_kafka.handlers.options import ConsumerOptions, consumer_options

ALLOWED = {"marketplace-svc", "billing-svc"}


class Paid(EventData, topic="bench.bill.paid.v1"):
    n: int


read = decoder_for(Paid, event_type="bench.bill.paid.v1", sources=ALLOWED)


def paid(source: str, data: Any = None, *, tenant: str = "t1", mode: Any = "structured") -> Record:
    """A record; a tenant that is not plain ASCII leads it through the careful way of the codec."""
    event = CloudEvent(id="e1", source=source, type="bench.bill.paid.v1", tenantid=tenant, data=data or {"n": 1})
    out = encode(event, mode)
    return Record(out.topic, 0, 7, out.key, out.value, tuple(out.headers))


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("tenant", ["t1", "tenänt"])
def test_an_event_of_an_allowed_source_is_read(tenant: str, mode: str) -> None:
    assert {read(paid(source, tenant=tenant, mode=mode)).source for source in ALLOWED} == ALLOWED


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("tenant", ["t1", "tenänt"])
@pytest.mark.parametrize("source", ["other-svc", "marketplace-svc/", "Marketplace-svc"])
def test_an_event_of_any_other_source_is_refused(source: str, tenant: str, mode: str) -> None:
    with pytest.raises(SourceNotAllowedError) as found:
        read(paid(source, tenant=tenant, mode=mode))
    assert (
        found.value.reason == f"source '{source}' is not accepted on this topic, only 'billing-svc', 'marketplace-svc'"
    )
    assert (found.value.topic, found.value.offset) == ("bench.bill.paid.v1", 7)


def test_the_source_is_checked_after_type_and_before_payload() -> None:
    with pytest.raises(SourceNotAllowedError):
        read(paid("other-svc", {"n": "none"}))
    record = paid("other-svc")
    other_type = record._replace(value=(record.value or b"").replace(b"bill.paid", b"bill.sent"))
    with pytest.raises(TypeMismatchError):
        read(other_type)


def test_without_the_option_every_source_is_read() -> None:
    assert decoder_for(Paid, event_type=None)(paid("other-svc")).source == "other-svc"


@pytest.mark.parametrize("given", [{"a", "b"}, frozenset("ab"), ["b", "a"], ("a", "b"), dict.fromkeys("ab").keys()])
def test_sources_are_given_as_any_collection(given: Any) -> None:
    assert consumer_options(sources=given).sources == frozenset("ab")


def test_a_set_that_is_changed_later_changes_nothing() -> None:
    given = {"a"}
    options = consumer_options(sources=given)
    given.add("b")
    assert options.sources == {"a"}
    assert hash(options) == hash(dataclasses.replace(options))


@pytest.mark.parametrize("given", ["marketplace-svc", set[str](), {"market place"}, {""}, {1}, 7, b"a"])
def test_what_can_allow_no_source_is_refused(given: Any) -> None:
    with pytest.raises(
        ValueError, match=r'^sources=.*: must be one source or more, in a set such as {"marketplace-svc"}, or "any"$'
    ):
        ConsumerOptions(sources=given)


def test_a_decorator_names_the_place_of_a_wrong_source() -> None:
    wrong: Any = "marketplace-svc"
    with pytest.raises(RoutingError, match=r"test_sources\.py:\d+: .*Consumer: sources='marketplace-svc': must be"):

        @kafka_consumer(group_id="group", sources=wrong)
        class Consumer:
            @on_message(TOPIC)
            async def handle(self, event: CloudEvent[Any]) -> None: ...


async def test_an_event_of_another_source_ends_among_the_dead_letters(
    make_group: Callable[[object], Group], make_record: Callable[..., Record]
) -> None:
    handled: list[str] = []

    @kafka_consumer(group_id="group", sources={"t-svc"})
    class Consumer:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event.id)

    good = make_record(1)
    group = make_group(Consumer())
    group.assign()
    group.receive(
        make_record(0), good._replace(value=(good.value or b"").replace(b'"source":"s"', b'"source":"t-svc"'))
    )
    await group.settle()
    group.store()
    assert handled == ["e1"]
    assert [letter.value for letter in group.producer.records] == [make_record(0).value]
    assert group.transport.offset() == 2
    assert issubclass(SourceNotAllowedError, DecodeError)
