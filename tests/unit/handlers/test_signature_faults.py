"""Signatures that cannot be a handler's: each error ends in the lines to write."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.handlers.refusals import CREATED, Refused


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("async def handle()", "async def handle(self, event: {})"),
        ("async def handle(self)", "async def handle(self, event: {})"),
        ("async def handle(event: CloudEvent[ListingCreated])", "async def handle(self, event: {})"),
        (
            "def handle(message: CloudEvent[ListingCreated], delivery: MessageContext)",
            "def handle(self, message: {}, delivery: MessageContext)",
        ),
        (
            "def handle(self, event: CloudEvent[ListingCreated], session: int, delivery: MessageContext)",
            "def handle(self, event: {}, delivery: MessageContext)",
        ),
        ("def handle(self, event: CloudEvent[ListingCreated], a: int, b: int)", "def handle(self, event: {})"),
        ("def handle(this, event: CloudEvent[ListingCreated], a: int, b: int)", "def handle(this, event: {})"),
        ("async def handle(self, *events: CloudEvent[ListingCreated])", "async def handle(self, event: {})"),
        ("async def handle(self, *, event: CloudEvent[ListingCreated])", "async def handle(self, event: {})"),
        (
            "async def handle(self, event: CloudEvent[ListingCreated], *, delivery: MessageContext)",
            "async def handle(self, event: {}, delivery: MessageContext)",
        ),
        ("async def handle(self, event: CloudEvent[ListingCreated], **rest: int)", "async def handle(self, event: {})"),
    ],
)
def test_wrong_parameters_are_answered_with_their_own_names(refused: Refused, given: str, right: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            {given} -> None: ...
    """)
    assert ("takes (self, event) or (self, event, context)" in refusal.text) == ("message" not in given)
    assert refusal.right == ["@on_message(ListingCreated)", f"{right.format('CloudEvent[ListingCreated]')} -> None:"]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("", "is not annotated; write"),
        (": ListingCreated", "but eventzr_marketplace_events.listing.ListingCreated"),
        (": MessageContext", ".MessageContext"),
        (": Any", "but typing.Any"),
        (": CloudEvent[ListingCreated] | None", "but CloudEvent[ListingCreated] | None"),
        (": Optional[CloudEvent[ListingCreated]]", "CloudEvent[ListingCreated]"),
        (": list[CloudEvent[ListingCreated]]", "but list["),
        (": Foreign", "but cloudevents.core.v1.event.CloudEvent"),
        (": Narrower", ".Narrower"),
    ],
)
def test_a_wrong_annotation_of_the_event_is_named(refused: Refused, annotation: str, said: str) -> None:
    refusal = refused(f"""
        from cloudevents.core.v1.event import CloudEvent as Foreign
        class Narrower(CloudEvent[ListingCreated]): ...
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("{CREATED}")  # blamed
            async def handle(self, message{annotation}, delivery: MessageContext) -> None: ...
    """)
    assert "parameter 'message' is" in refusal.text
    assert said in refusal.text
    assert refusal.right == [
        f'@on_message("{CREATED}")',
        "async def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None:",
    ]


@pytest.mark.parametrize("annotation", ["", ": int", ": MessageContext | None", ": CloudEvent[ListingCreated]"])
def test_a_context_is_annotated_and_keeps_its_name(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: CloudEvent[EventData], delivery{annotation}) -> None: ...
    """)
    assert "parameter 'delivery' is not annotated MessageContext" in refusal.text
    assert refusal.right[1] == "async def handle(self, event: CloudEvent[EventData], delivery: MessageContext) -> None:"


@pytest.mark.parametrize("annotation", ["int", "ListingCreated", "Any", "bool | None"])
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_handler_returns_nothing(refused: Refused, kind: str, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("nobody.declares.this.v1")  # blamed
            {kind} handle(self, event: CloudEvent[dict[str, Any]]) -> {annotation}: ...
    """)
    assert "returns a value" in refusal.text
    assert refusal.right[1] == f"{kind} handle(self, event: CloudEvent[dict[str, Any]]) -> None:"
    assert refusal.route().data_type == dict[str, Any]


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_handler_does_not_yield(refused: Refused, kind: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            {kind} handle(self, event: CloudEvent[ListingCreated]):
                yield event
    """)
    assert "yields" in refusal.text
    assert refusal.right[1] == f"{kind} handle(self, event: CloudEvent[ListingCreated]) -> None:"


@pytest.mark.parametrize("annotation", ["Hidden", "CloudEvent[Hidden]"])
def test_a_name_for_type_checkers_alone_is_refused(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: "{annotation}") -> None: ...
    """)
    assert "(name 'Hidden' is not defined): import it outside of TYPE_CHECKING" in refusal.text


@pytest.mark.parametrize(
    "annotation", ["CloudEvent[", "ListingCreated.nothing", "CloudEvent[functools]", "print(1)[2]"]
)
def test_a_senseless_annotation_is_refused_with_the_reason(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: "{annotation}") -> None: ...
    """)
    assert "an annotation cannot be resolved (" in refusal.text
    assert "TYPE_CHECKING" not in refusal.text
    assert refusal.error.__cause__ is not None
