"""The payload class of a handler: from the decorator, the annotation, or a generic base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import AfterValidator, BaseModel
from tests.unit.handlers.refusals import CREATED, PRELUDE, Refused, routes_of, run
from typing_extensions import TypeAliasType, TypedDict

from eventzr_kafka import CloudEvent, EventData, kafka_consumer, on_message
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.errors import RoutingError
from eventzr_marketplace_events import ListingCreated, ListingUpdated, OrderCompleted


class Tolerant(BaseModel):
    id: str


@dataclass
class Row:
    id: str


class Wire(TypedDict):
    id: str


ListingEvent = TypeAliasType("ListingEvent", CloudEvent[ListingCreated])


def payload(annotation: Any, target: Any = CREATED) -> Any:
    """The data type of a handler with this annotation."""

    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(target)
        async def handle(self, event: CloudEvent) -> None: ...

        handle.__annotations__["event"] = annotation

    return routes_of(Handler)["handle"].data_type


@pytest.mark.parametrize("target", [CREATED, ListingCreated], ids=["topic", "class"])
@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (CloudEvent, ListingCreated),
        (CloudEvent[Any], Any),
        (CloudEvent[ListingCreated], ListingCreated),
        (CloudEvent[EventData], ListingCreated),
        (CloudEvent[BaseModel], ListingCreated),
        (CloudEvent[object], ListingCreated),
        (CloudEvent[ListingCreated | ListingUpdated], ListingCreated),
        (CloudEvent[EventData | None], ListingCreated | None),
        (CloudEvent[ListingCreated | None], ListingCreated | None),
        (Annotated[CloudEvent[ListingCreated], "note"], ListingCreated),
        (ListingEvent, ListingCreated),
    ],
    ids=str,
)
def test_a_declared_topic_narrows_a_broad_annotation(annotation: Any, expected: Any, target: Any) -> None:
    assert payload(annotation, target) == expected


@pytest.mark.parametrize(
    "own", [Tolerant, Row, Wire, dict[str, Any], list[Tolerant], Tolerant | Row, ListingCreated], ids=str
)
def test_with_a_topic_string_the_annotation_gives_the_class(own: Any) -> None:
    assert payload(CloudEvent[own]) == own


@pytest.mark.parametrize("own", [Tolerant, Row, Wire, dict[str, Any], Tolerant | None, EventData, object], ids=str)
def test_the_annotation_gives_the_class_of_an_undeclared_topic(own: Any) -> None:
    assert payload(CloudEvent[own], "nobody.declares.this.v1") == own


def test_a_validator_in_the_annotation_is_kept() -> None:
    checked = Annotated[ListingCreated, AfterValidator(lambda listing: listing)]
    assert payload(CloudEvent[checked]) == checked
    assert payload(CloudEvent[checked], ListingCreated) == checked


def test_a_bare_event_of_an_unknown_topic_is_plain_json() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message("nobody.declares.this.v1")
        async def handle(self, event: CloudEvent) -> None: ...

    route = routes_of(Handler)["handle"]
    assert (route.data_type, route.event_type) == (Any, None)


@pytest.mark.parametrize(
    "topic",
    [
        "eventzr.marketplace.order.shipped.v1",
        "eventzr.marketplace.quote.rejected.v1",
        "eventzr.marketplace.listing.created.v2",
        "eventzr.user.profile.created.v1",
    ],
)
def test_a_sibling_of_a_declared_topic_is_no_misspelling_of_it(topic: str) -> None:
    assert payload(CloudEvent, topic) is Any


def test_any_reads_even_a_topic_that_looks_misspelt() -> None:
    assert payload(CloudEvent[Any], "eventzr.marketplace.listing.craeted.v1") is Any


@pytest.mark.parametrize("own", [Row, Wire, dict[str, Any], ListingCreated | None, list[Row]], ids=str)
def test_a_decoder_is_built_once_for_each_payload(own: Any) -> None:
    data_type = payload(CloudEvent[own])
    first = decoder_for(data_type, event_type=CREATED)
    assert decoder_for(payload(CloudEvent[own]), event_type=CREATED) is first


PayloadT = TypeVar("PayloadT")
OtherT = TypeVar("OtherT")


class GenericBase(Generic[PayloadT]):
    @on_message(CREATED)
    async def handle(self, event: CloudEvent[PayloadT]) -> None: ...


class ListBase(Generic[PayloadT]):
    @on_message("nobody.declares.lists.v1")
    async def count(self, event: CloudEvent[list[PayloadT]]) -> None: ...


class Between(GenericBase[OtherT], ListBase[int], Generic[OtherT]): ...


def test_a_subclass_says_what_a_generic_handler_gets() -> None:
    @kafka_consumer(group_id="group")
    class Handler(Between[ListingCreated]): ...

    routes = routes_of(Handler)
    assert routes["handle"].data_type is ListingCreated
    assert routes["count"].data_type == list[int]


def test_a_generic_base_is_given_its_class_once() -> None:
    module = run(f"""{PRELUDE}
PayloadT = TypeVar("PayloadT")
class Base(Generic[PayloadT]):
    @on_message("{CREATED}")
    async def handle(self, event: CloudEvent[PayloadT]) -> None: ...
class Between(Base[PayloadT]): ...
@kafka_consumer(group_id="group")
class Handler(Between, Base[ListingCreated]): ...
""")
    assert routes_of(module.Handler)["handle"].data_type is ListingCreated


def test_a_generic_handler_of_the_wrong_class_is_refused() -> None:
    with pytest.raises(RoutingError, match=r"Handler\.handle: topic .* carries ListingCreated, not OrderCompleted"):

        @kafka_consumer(group_id="group")
        class Handler(GenericBase[OrderCompleted]): ...  # pyright: ignore[reportUnusedClass]


def test_a_generic_handler_needs_its_class(refused: Refused) -> None:
    refusal = refused("""
        PayloadT = TypeVar("PayloadT")
        @kafka_consumer(group_id="group")
        class Handler(Generic[PayloadT]):
            @on_message("eventzr.marketplace.listing.created.v1")  # blamed
            async def handle(self, event: CloudEvent[PayloadT]) -> None: ...
    """)
    assert "is annotated CloudEvent[~PayloadT], which names no class yet" in refusal.text
    assert refusal.right[1] == "async def handle(self, event: CloudEvent[ListingCreated]) -> None:"
