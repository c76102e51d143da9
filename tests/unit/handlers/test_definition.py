"""The definition that `@kafka_consumer` makes of a class, and its errors about the class itself."""

from __future__ import annotations

import inspect
from typing import NoReturn

import pytest
from tests.unit.handlers.refusals import COMPLETED, CREATED, Refused, Setting, routes_of, run

from eventzr_kafka import CloudEvent, MessageContext, kafka_consumer, on_message
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.signature import Route
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingUpdated, OrderCompleted


def test_the_example_of_the_guide_gives_two_routes_and_one_group() -> None:
    @kafka_consumer(group_id="your-service-marketplace-consumer")
    class MarketplaceEventHandler:
        @on_message(ListingCreated)
        async def handle_listing_created(self, event: CloudEvent[ListingCreated]) -> None: ...

        @on_message("eventzr.marketplace.order.completed.v1")
        async def handle_order_completed(self, event: CloudEvent[OrderCompleted]) -> None: ...

    definition = definition_of(MarketplaceEventHandler())
    assert definition.group_id == "your-service-marketplace-consumer"
    label = "MarketplaceEventHandler.handle_listing_created"
    created, completed = definition.routes
    assert created == Route(
        CREATED,
        ListingCreated,
        CREATED,
        "handle_listing_created",
        label,
        is_async=True,
        takes_context=False,
        accepts=ListingCreated.__accepts__,
    )
    assert (completed.topic, completed.data_type) == (COMPLETED, OrderCompleted)


def test_the_definition_says_where_the_class_is_decorated() -> None:
    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]

    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    assert definition_of(Handler()).location == f"{__file__}:{line}"


def test_the_class_stays_what_it_is() -> None:
    class Handler:
        def __init__(self, name: str) -> None:
            self.name = name

        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    method = Handler.handle
    decorated = kafka_consumer(group_id="group")(Handler)
    assert decorated is Handler
    assert decorated.handle is method
    assert decorated("one").name == "one"


def test_the_options_are_those_of_the_decorator() -> None:
    @kafka_consumer(group_id="group", ordering="subject", max_concurrency=8)
    class Handler:
        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    assert definition_of(Handler()).options == ConsumerOptions(ordering="subject", max_concurrency=8)


def test_async_and_context_are_known_from_the_signature() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        def plain(self, event: CloudEvent[ListingCreated]) -> None: ...

        @on_message(ListingUpdated)
        async def both(self, event: CloudEvent[ListingUpdated], delivery: MessageContext) -> None: ...

        @on_message(ListingClosed)
        def positional(this, event: CloudEvent[ListingClosed], _: MessageContext, /): ...  # type: ignore[no-untyped-def] # noqa: ANN202, N805 # pyright: ignore[reportSelfClsParameterName]

    routes = routes_of(Handler)
    assert {name: (route.is_async, route.takes_context) for name, route in routes.items()} == {
        "plain": (False, False),
        "both": (True, True),
        "positional": (False, True),
    }


def test_a_handler_that_always_raises_returns_nothing() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        def handle(self, event: CloudEvent[ListingCreated]) -> NoReturn:
            raise NotImplementedError

    assert routes_of(Handler)["handle"].data_type is ListingCreated


def test_an_object_in_place_of_the_class_is_what_a_runner_wants() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    with pytest.raises(RoutingError, match=r"Handler: is a class: pass an object of it, Handler\(…\)") as caught:
        definition_of(Handler)
    line = inspect.getsourcelines(Handler)[1]
    assert caught.value.location == f"{__file__}:{line}"


def test_an_object_of_another_class_is_not_a_consumer() -> None:
    class Plain: ...

    with pytest.raises(RoutingError, match=r'Plain: is not a consumer.*\n    @kafka_consumer\(group_id="') as caught:
        definition_of(Plain())
    assert caught.value.location == f"{__file__}:{inspect.getsourcelines(Plain)[1]}"
    with pytest.raises(RoutingError, match="int: is not a consumer"):
        definition_of(1)


def test_the_class_decorator_needs_its_parentheses(setting: Setting) -> None:
    text = """
        @kafka_consumer
        class Handler:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """
    source = setting.source(text)
    with pytest.raises(RoutingError, match="Handler: needs a group; write") as caught:
        run(source, "handlers.py")
    line = 1 + source.splitlines().index(next(line for line in source.splitlines() if "@kafka_consumer" in line))
    assert caught.value.location in {f"handlers.py:{line}", f"handlers.py:{line + 1}"}
    right = str(caught.value).splitlines()[1].strip()
    assert definition_of(run(source.replace("@kafka_consumer\n", f"{right}\n")).Handler()).routes


@pytest.mark.parametrize("arguments", ["", '"group"', 'ordering="tenant"'])
def test_missing_group_is_refused(setting: Setting, arguments: str) -> None:
    with pytest.raises(RoutingError, match=r'@kafka_consumer: needs a group; write\n    @kafka_consumer\(group_id="'):
        run(setting.source(f"kafka_consumer({arguments})"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('group_id=""', "group_id must be a non-empty string"),
        ('group_id="  "', "group_id must be a non-empty string"),
        ("group_id=None", "group_id must be a non-empty string"),
        ('group_id="group", orderin="tenant"', "unknown option 'orderin'; there are: group_id, ordering"),
        ('group_id="group", ordering="topic"', "ordering='topic': must be one of tenant, subject, partition, none"),
        ('group_id="group", max_concurrency=0', "max_concurrency=0: must be 1 or more"),
        ('group_id="group", drain_timeout=-1', "drain_timeout=-1: must be 0 or more seconds"),
        ('group_id="group", max_concurrency="8"', "max_concurrency='8': must be a whole number"),
    ],
)
def test_a_wrong_option_is_located_at_its_class(blamed: Refused, arguments: str, said: str) -> None:
    refusal = blamed(f"""
        @kafka_consumer({arguments})  # blamed: Handler
        class Handler:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert said in refusal.text


def test_a_class_without_a_handler_is_shown_one(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")  # blamed: Handler
        class Handler:
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "has no handler" in refusal.text
    assert refusal.right == ['@on_message("your.topic.v1")', "async def handle(self, event: CloudEvent) -> None:"]


def test_a_helper_elsewhere_does_not_take_the_blame(setting: Setting) -> None:
    helper = "def in_group(cls):\n    return kafka_consumer(group_id='group')(cls)\n"
    in_group = vars(run(helper, "helper.py", kafka_consumer=kafka_consumer))["in_group"]
    source = setting.source("""
        class Handler: ...
        in_group(Handler)  # blamed
    """)
    with pytest.raises(RoutingError) as caught:
        run(source, "handlers.py", in_group=in_group)
    blamed = next(number for number, line in enumerate(source.splitlines(), 1) if "# blamed" in line)
    assert caught.value.location == f"handlers.py:{blamed}"


def test_a_function_is_not_a_consumer(blamed: Refused) -> None:
    refusal = blamed("""
        @kafka_consumer(group_id="group")  # blamed: handle
        async def handle(event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "is not a class" in refusal.text


def test_a_class_has_one_group(blamed: Refused) -> None:
    refusal = blamed("""
        @kafka_consumer(group_id="second")  # blamed: Handler
        @kafka_consumer(group_id="first")
        class Handler:
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "is decorated twice" in refusal.text


def test_a_nested_class_is_named_with_the_class_around_it(blamed: Refused) -> None:
    blamed("""
        class Outer:
            @kafka_consumer(group_id="group")
            class Handler:
                @on_message(ListingCreated)  # blamed: Outer.Handler.handle
                async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)


def test_a_payload_class_may_be_local(setting: Setting) -> None:
    module = run(
        setting.source("""
        class Near(EventData): ...
        @kafka_consumer(group_id="group")
        class Handler:
            class Inside(EventData): ...
            @on_message("nobody.declares.near.v1")
            async def near(self, event: CloudEvent[Near]) -> None: ...
            @on_message("nobody.declares.inside.v1")
            async def inside(self, event: CloudEvent[Inside]) -> None: ...
    """)
    )
    routes = definition_of(module.Handler()).routes
    assert [route.data_type for route in routes] == [module.Near, module.Handler.Inside]
