"""Topics and payload classes that do not fit: each error ends in the lines to write."""

from __future__ import annotations

from itertools import permutations

import pytest
from tests.unit.handlers.refusals import COMPLETED, CREATED, Refused


def test_a_misspelt_topic_is_answered_with_the_near_one(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("eventzr.marketplace.listing.craeted.v1")  # blamed
            async def handle(self, message: CloudEvent, delivery: MessageContext) -> None: ...
    """)
    assert f"did you mean '{CREATED}'?" in refusal.text
    assert "CloudEvent[Any]" in refusal.text
    assert refusal.right == [
        f'@on_message("{CREATED}")',
        "async def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None:",
    ]
    assert refusal.route().data_type.__name__ == "ListingCreated"
    assert refusal.route().takes_context


def test_a_base_class_does_not_hide_a_misspelling(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("eventzr.marketplace.listing.craeted.v1")  # blamed
            def handle(self, event: CloudEvent[EventData]) -> None: ...
    """)
    assert f"did you mean '{CREATED}'?" in refusal.text
    assert refusal.right[1] == "def handle(self, event: CloudEvent[ListingCreated]) -> None:"


@pytest.mark.parametrize("target", ["ListingCreated", f'"{CREATED}"'])
@pytest.mark.parametrize("annotation", ["OrderCompleted", "ListingUpdated | OrderCompleted", "OrderCompleted | None"])
def test_a_class_of_another_topic_contradicts(refused: Refused, target: str, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message({target})  # blamed
            async def handle(self, event: CloudEvent[{annotation}]) -> None: ...
    """)
    # Two unions are equal in any order, and Python gives the CloudEvent[…] of the first one again.
    orders = [" | ".join(names) for names in permutations(annotation.split(" | "))]
    assert any(f"topic '{CREATED}' carries ListingCreated, not {names}" in refusal.text for names in orders)
    assert refusal.right == [
        f"@on_message({target})",
        "async def handle(self, event: CloudEvent[ListingCreated]) -> None:",
    ]


@pytest.mark.parametrize("annotation", ["dict[str, Any]", "ListingStatistics", "int"])
def test_a_class_in_the_decorator_rules_out_other_payloads(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: CloudEvent[{annotation}]) -> None: ...
    """)
    assert f"carries ListingCreated, not {annotation}" in refusal.text
    assert refusal.right[1].endswith("(self, event: CloudEvent[ListingCreated]) -> None:")


def test_a_misspelt_topic_with_a_declared_class_gets_a_hint(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("eventzr.marketplace.order.complete.v1")  # blamed
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)
    assert f"is not that of OrderCompleted (did you mean '{COMPLETED}'?)" in refusal.text
    assert refusal.route().topic == COMPLETED


def test_an_unknown_topic_is_held_against_the_annotated_class(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("nobody.declares.this.v1")  # blamed
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)
    assert refusal.route().topic == COMPLETED


def test_a_topic_has_one_method(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)
            async def first(self, message: CloudEvent[ListingCreated]) -> None: ...

            @on_message("eventzr.marketplace.listing.created.v1")  # blamed: Handler.second
            async def second(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert f"topic '{CREATED}' is already handled by Handler.first" in refusal.text
    assert refusal.right[1] == "async def first(self, message: CloudEvent[ListingCreated]) -> None:"


@pytest.mark.parametrize(
    ("target", "right"),
    [
        (f'"{CREATED} "', f'"{CREATED}"'),
        (f'"{CREATED}\\n"', f'"{CREATED}"'),
        ('"^acme.*"', '"your.topic.v1"'),
        ('"nobody declares this"', '"your.topic.v1"'),
        ('""', '"your.topic.v1"'),
        ("ListingStatistics", '"your.topic.v1"'),
        ("EventData", '"your.topic.v1"'),
        ("int", '"your.topic.v1"'),
        ("None", '"your.topic.v1"'),
        ("dict[str, int]", '"your.topic.v1"'),
        ("CloudEvent[ListingCreated]", "ListingCreated"),
    ],
)
def test_on_message_takes_a_topic_or_a_declared_class(refused: Refused, target: str, right: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message({target})  # blamed
            async def handle(self, event: CloudEvent, context: MessageContext) -> None: ...
    """)
    assert refusal.right[0] == f"@on_message({right})"
    assert refusal.right[1].endswith(", context: MessageContext) -> None:")


def test_a_class_without_a_topic_may_still_be_the_payload(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingStatistics)  # blamed
            async def handle(self, event: CloudEvent[ListingStatistics]) -> None: ...
    """)
    assert "ListingStatistics declares no topic" in refusal.text
    assert refusal.right[1] == "async def handle(self, event: CloudEvent[ListingStatistics]) -> None:"


def test_on_message_needs_an_argument(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message  # blamed
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)
    assert "needs a payload class or a topic" in refusal.text
    assert refusal.right[0] == "@on_message(OrderCompleted)"
