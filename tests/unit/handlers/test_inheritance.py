"""Handlers of bases and subclasses: none is lost in silence."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest
from tests.unit.handlers.refusals import COMPLETED, CREATED, PRELUDE, UPDATED, Refused, routes_of, run

from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_marketplace_events import ListingCreated, ListingUpdated, OrderCompleted


def test_a_second_handler_of_one_name_is_refused(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

            @on_message(ListingUpdated)  # blamed
            async def handle(self, event: CloudEvent[ListingUpdated]) -> None: ...
    """)
    assert "replaces the handler of that name above it" in refusal.text
    assert refusal.route().method == "handle_2"


def test_a_plain_method_over_a_handler_is_refused(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "is hidden by a second definition" in refusal.text


def test_a_decorator_without_wraps_is_refused(refused: Refused) -> None:
    refusal = refused("""
        def logged(method):
            async def call(*args: Any) -> None: ...
            return call
        @kafka_consumer(group_id="group")
        class Handler:
            @logged  # blamed
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "functools.wraps" in refusal.text


def test_a_decorator_below_on_message_needs_wraps_too(refused: Refused) -> None:
    refusal = refused("""
        def logged(method):
            async def call(*args: Any) -> None: ...
            return call
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed: Handler.call
            @logged
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "functools.wraps" in refusal.text


def test_an_override_without_the_decorator_is_refused(refused: Refused) -> None:
    refusal = refused("""
        class Base:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
        @kafka_consumer(group_id="group")
        class Handler(Base):
            def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None: ...  # blamed
    """)
    assert "overrides a handler: repeat its decorator, or set handle = None to drop it" in refusal.text
    assert refusal.right == [
        "@on_message(ListingCreated)",
        "def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None:",
    ]


class Base:
    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...


class Mixin:
    @on_message(ListingUpdated)
    def react(self, event: CloudEvent[ListingUpdated]) -> None: ...


def test_handlers_of_bases_and_mixins_are_inherited() -> None:
    @kafka_consumer(group_id="group")
    class Handler(Base, Mixin):
        @on_message(OrderCompleted)
        async def finish(self, event: CloudEvent[OrderCompleted]) -> None: ...

    routes = routes_of(Handler)
    assert {name: route.topic for name, route in routes.items()} == {
        "handle": CREATED,
        "react": UPDATED,
        "finish": COMPLETED,
    }
    assert routes["react"].label == "Handler.react"


def test_an_override_with_the_decorator_replaces_the_route() -> None:
    @kafka_consumer(group_id="group")
    class Handler(Base):
        @on_message(ListingCreated)
        def handle(self, event: CloudEvent[ListingCreated]) -> None: ...  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]

    (route,) = definition_of(Handler()).routes
    assert not route.is_async


def test_none_drops_a_handler() -> None:
    @kafka_consumer(group_id="group")
    class Handler(Base, Mixin):
        react = None  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]

    assert list(routes_of(Handler)) == ["handle"]


def test_an_inherited_handler_conflicts_over_its_topic(blamed: Refused) -> None:
    refusal = blamed("""
        class Base:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
        @kafka_consumer(group_id="group")
        class Handler(Base):
            @on_message(ListingCreated)  # blamed: Handler.again
            async def again(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "already handled by Handler.handle" in refusal.text


ELSEWHERE = f"""
from __future__ import annotations
{PRELUDE}
Payload = ListingCreated
class Base:
    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[Payload]) -> None: ...
"""


def test_an_inherited_annotation_is_read_in_its_own_module() -> None:
    Payload = ListingUpdated  # noqa: F841, N806 -- a namesake beside the subclass # pyright: ignore[reportUnusedVariable]
    subclass = type("Handler", (run(ELSEWHERE).Base,), {})
    assert routes_of(kafka_consumer(group_id="group")(subclass))["handle"].data_type is ListingCreated


def test_a_plain_subclass_is_the_same_consumer() -> None:
    @kafka_consumer(group_id="group")
    class Handler(Base): ...

    class Special(Handler):
        extra = 1

    assert definition_of(Special()) is definition_of(Handler())


@kafka_consumer(group_id="group")
class Decorated(Base):
    """A consumer to derive from."""


class Overriding(Decorated):
    async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...


class Adding(Decorated):
    @on_message(OrderCompleted)
    async def finish(self, event: CloudEvent[OrderCompleted]) -> None: ...


@pytest.mark.parametrize("changed", [Overriding, Adding])
def test_a_subclass_that_changes_handlers_is_decorated_itself(changed: type) -> None:
    with pytest.raises(RoutingError, match="is not decorated itself; write\n    @kafka_consumer") as caught:
        definition_of(changed())
    assert caught.value.location == f"{__file__}:{inspect.getsourcelines(changed)[1]}"
    assert caught.value.handler == changed.__name__


def test_a_decorated_subclass_may_have_another_group() -> None:
    @kafka_consumer(group_id="special")
    class Special(Decorated):
        @on_message(OrderCompleted)
        async def finish(self, event: CloudEvent[OrderCompleted]) -> None: ...

    assert definition_of(Special()).group_id == "special"
    assert definition_of(Decorated()).group_id == "group"
    assert list(routes_of(Special)) == ["handle", "finish"]


def test_a_class_that_is_made_anew_from_a_consumer_is_one() -> None:
    @dataclass(slots=True)
    @kafka_consumer(group_id="group")
    class Handler:
        name: str = "one"

        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    assert list(routes_of(Handler)) == ["handle"]
