"""`MessageContext[X]` is held against the inbox: when the class is decorated, and when the runner starts."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from eventzr_kafka import CloudEvent, MemoryInbox, MessageContext, kafka_consumer, on_batch, on_message
from eventzr_kafka.errors import ConfigurationError, RoutingError
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.inbox import Inbox, SqlInbox, fits_session

TOPIC = "test.sessions.v1"
SessionT = TypeVar("SessionT")
ASYNC, SYNC = SqlInbox(async_sessionmaker()), SqlInbox(sessionmaker())


def declared_session(handler: type) -> Any:
    (route,) = definition_of(handler()).routes
    return route.session


def test_route_knows_the_session_of_its_context() -> None:
    @kafka_consumer(group_id="g", inbox=ASYNC)
    class Handler:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent, context: MessageContext[AsyncSession]) -> None: ...

    assert declared_session(Handler) is AsyncSession


def test_batch_handler_has_a_session_too() -> None:
    @kafka_consumer(group_id="g", inbox=ASYNC)
    class Handler:
        @on_batch(TOPIC)
        async def handle(self, events: list[CloudEvent], contexts: list[MessageContext[AsyncSession]]) -> None: ...

    assert declared_session(Handler) is AsyncSession


def test_generic_base_class_gets_its_session_from_below() -> None:
    class Base(Generic[SessionT]):
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent, context: MessageContext[SessionT]) -> None: ...

    @kafka_consumer(group_id="g", inbox=ASYNC)
    class Handler(Base[AsyncSession]): ...

    assert declared_session(Handler) is AsyncSession


def test_bare_message_context_takes_any_session() -> None:
    @kafka_consumer(group_id="g")
    class Handler:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent, context: MessageContext) -> None: ...

    assert declared_session(Handler) is Any


def test_session_without_an_inbox_is_refused() -> None:
    with pytest.raises(RoutingError, match=r"takes a MessageContext\[AsyncSession\], and its consumer has no inbox"):

        @kafka_consumer(group_id="g")
        class Handler:
            @on_message(TOPIC)
            async def handle(self, event: CloudEvent, context: MessageContext[AsyncSession]) -> None: ...


@pytest.mark.parametrize(
    ("inbox", "is_async", "session", "problem"),
    [
        (MemoryInbox(), True, AsyncSession, "a MemoryInbox has no session"),
        (ASYNC, True, Session, r"MessageContext\[Session\]: its SqlInbox makes AsyncSession"),
        (SYNC, False, AsyncSession, r"MessageContext\[AsyncSession\]: its SqlInbox makes Session"),
    ],
    ids=["memory", "async", "sync"],
)
def test_inbox_refuses_another_session(inbox: Inbox, *, is_async: bool, session: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        inbox.check_handler("Handler.handle", is_async=is_async, session=session)


@pytest.mark.parametrize("declared", [Any, None, AsyncSession | None])
def test_inbox_without_sessions_serves_other_handlers(declared: Any) -> None:
    MemoryInbox().check_handler("Handler.handle", is_async=True, session=declared)


class CustomSession(AsyncSession): ...


@pytest.mark.parametrize(
    ("declared", "make", "fits"),
    [
        (AsyncSession, CustomSession, True),
        (CustomSession, AsyncSession, False),
        (Session | AsyncSession, AsyncSession, True),
        (dict[str, int], dict, True),
        (Callable[[], int], AsyncSession, False),
        ("AsyncSession", Session, True),
    ],
)
def test_session_fits_its_class_or_an_unknown_kind(declared: Any, make: Callable[[], object], *, fits: bool) -> None:
    assert fits_session(declared, make()) is fits
