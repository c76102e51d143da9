"""Methods under other decorators, and objects that are not methods."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.unit.handlers.refusals import CREATED, UPDATED, Refused, Setting, routes_of, run

from eventzr_kafka import CloudEvent, MessageContext, kafka_consumer, on_message
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_marketplace_events import ListingCreated, ListingUpdated

KINDS = ["staticmethod", "classmethod", "functools.cache", "functools.cached_property", "property"]


@pytest.mark.parametrize("kind", [*KINDS, "functools.partialmethod"])
def test_on_message_is_for_plain_methods(refused: Refused, kind: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            @{kind}
            async def handle(cls, message: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "put @on_message innermost, on a plain method" in refusal.text
    assert refusal.right[1] == "async def handle(self, message: CloudEvent[ListingCreated]) -> None:"


@pytest.mark.parametrize("kind", KINDS)
def test_on_message_below_a_builtin_decorator_is_refused(refused: Refused, kind: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @{kind}  # blamed
            @on_message(ListingCreated)
            async def handle(cls, message: CloudEvent[ListingCreated]) -> None: ...
    """)
    method = "is a classmethod or staticmethod: a handler is a plain method"
    assert (method if "method" in kind else "is hidden by") in refusal.text
    assert refusal.right[1] == "async def handle(self, message: CloudEvent[ListingCreated]) -> None:"


def test_a_lambda_is_not_a_method(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            handle = on_message(ListingCreated)(lambda self, event: None)  # blamed: Handler.<lambda>
    """)
    assert "is not a method" in refusal.text
    assert refusal.right[1] == "def handle(self, event: CloudEvent[ListingCreated]) -> None:"


def test_a_callable_object_is_not_a_method(refused: Refused) -> None:
    refusal = refused("""
        class Greeter:
            async def __call__(self, event: CloudEvent[ListingCreated]) -> None: ...
        @kafka_consumer(group_id="group")
        class Handler:
            handle = on_message(ListingCreated)(Greeter())  # blamed: Handler.Greeter
    """)
    assert "is a Greeter: put @on_message innermost, on a plain method" in refusal.text


def test_a_function_is_not_a_method(blamed: Refused) -> None:
    refusal = blamed("""
        @on_message(ListingCreated)  # blamed: handle
        async def handle(message: CloudEvent[ListingCreated], delivery: MessageContext) -> None: ...
    """)
    assert "is not a method: define it in its class" in refusal.text
    assert refusal.right == [
        "@on_message(ListingCreated)",
        "async def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None:",
    ]


def test_a_function_from_elsewhere_is_not_a_method(refused: Refused) -> None:
    refusal = refused("""
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
        @kafka_consumer(group_id="group")
        class Handler:
            react = on_message(ListingCreated)(handle)  # blamed
    """)
    assert "is not a method: define it in its class" in refusal.text


def test_a_method_has_one_topic(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingUpdated)  # blamed
            @on_message(ListingCreated)
            async def handle(self, event: CloudEvent[ListingCreated | ListingUpdated]) -> None: ...
    """)
    assert "handles a topic already" in refusal.text
    assert refusal.fixed is not None
    assert [(route.method, route.topic) for route in refusal.fixed.routes] == [
        ("handle", CREATED),
        ("handle_2", UPDATED),
    ]


Async = Callable[..., Coroutine[Any, Any, None]]


def awaited(method: Async) -> Async:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> None:
        await method(*args, **kwargs)

    return call


def given_a_session(method: Async) -> Async:
    @functools.wraps(method)
    async def call(self: object, event: CloudEvent[Any]) -> None:
        await method(self, event, "session")

    return call


def test_a_decorator_with_wraps_may_stand_above_and_below() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        @awaited
        async def below(self, event: CloudEvent[ListingCreated], context: MessageContext) -> None: ...

        @awaited
        @on_message(ListingUpdated)
        async def above(self, event: CloudEvent[ListingUpdated]) -> None: ...

    routes = routes_of(Handler)
    assert routes["below"].takes_context
    assert (routes["below"].data_type, routes["above"].data_type) == (ListingCreated, ListingUpdated)
    assert all(route.is_async for route in routes.values())


def test_a_decorator_may_take_arguments_away() -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(ListingCreated)
        @given_a_session
        async def handle(self, event: CloudEvent[ListingCreated], session: str) -> None: ...

    assert not routes_of(Handler)["handle"].takes_context


def test_a_def_around_an_async_def_would_never_be_awaited(setting: Setting) -> None:
    text = """
        def timed(method):
            @functools.wraps(method)
            def call(*args: Any, **kwargs: Any) -> Any:
                return method(*args, **kwargs)
            return call
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            @timed
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """
    source = setting.source(text)
    with pytest.raises(RoutingError, match=r"a decorator, handlers\.py:\d+, hides this `async def`") as caught:
        run(source, "handlers.py")
    right = "async def call(*args: Any, **kwargs: Any) -> None:"
    assert str(caught.value).splitlines()[1:] == [f"    {right}"]
    fixed = source.replace("def call(*args: Any, **kwargs: Any) -> Any:", right).replace(
        "return method", "await method"
    )
    assert definition_of(run(fixed).Handler()).routes[0].is_async


def test_a_fault_below_a_decorator_is_located_in_the_method(refused: Refused) -> None:
    refused("""
        def awaited(method):
            @functools.wraps(method)
            async def call(*args: Any, **kwargs: Any) -> None: ...
            return call
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            @awaited
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)


def test_a_helper_may_apply_on_message() -> None:
    def listing(method: Any) -> Any:
        return on_message(ListingCreated)(awaited(method))

    @kafka_consumer(group_id="group")
    class Handler:
        @listing
        async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

    assert routes_of(Handler)["handle"].topic == CREATED
