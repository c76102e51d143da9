"""What `@kafka_consumer` and `@on_message` make of a class, and what they say about one that is wrong.

A wrong class is source text: its marked line must be the one that is blamed, and the lines that the error ends in
are pasted into a class that must be accepted. Every such case runs at module level and inside a function, with
annotations that are evaluated and that are postponed.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count, product
from types import ModuleType
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import pytest
from pydantic import AfterValidator, BaseModel
from typing_extensions import TypeAliasType, TypedDict

from eventzr_kafka import CloudEvent, EventData, MessageContext, kafka_consumer, on_message
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.handlers.signature import Route
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingUpdated, OrderCompleted

CREATED = "eventzr.marketplace.listing.created.v1"
UPDATED = "eventzr.marketplace.listing.updated.v1"
COMPLETED = "eventzr.marketplace.order.completed.v1"

PRELUDE = """\
import functools
from typing import Any, Generic, Optional, TypeVar
from eventzr_kafka import CloudEvent, EventData, MessageContext, kafka_consumer, on_message
from eventzr_marketplace_events import ListingClosed, ListingCreated, ListingStatistics, ListingUpdated, OrderCompleted
"""
modules = count()


@dataclass
class Refusal:
    """A class that was refused, and what became of it with the lines that the error ends in."""

    error: RoutingError
    right: list[str]
    mended: ConsumerDefinition | None = None

    @property
    def text(self) -> str:
        return str(self.error)

    def route(self) -> Route:
        assert self.mended is not None
        (route,) = self.mended.routes
        return route


def run(source: str, file: str = "mended.py", **names: Any) -> ModuleType:
    module = ModuleType(f"{file.removesuffix('.py')}_{next(modules)}")
    vars(module).update(names)
    exec(compile(source, file, "exec", dont_inherit=True), vars(module))  # noqa: S102 -- the tests' own source
    return module


@dataclass
class Setting:
    local: bool
    postponed: bool

    def source(self, text: str) -> str:
        future = "from __future__ import annotations\n" if self.postponed else ""
        body = textwrap.dedent(text)
        if self.local:
            inside = textwrap.indent(body, "    ")
            body = f"def declare():\n{inside}\n    return dict(locals())\nglobals().update(declare())\n"
        return f"{future}{PRELUDE}{body}"

    def mend(self, text: str, right: list[str]) -> ConsumerDefinition:
        """Paste the right lines into a class of its own, below what the source defines before its consumer."""
        before = textwrap.dedent(text).partition("@kafka_consumer")[0]
        lines = "".join(f"    {line}\n" + "        return\n" * line.endswith(":") for line in right)
        module = run(self.source(f'{before}\n@kafka_consumer(group_id="mended")\nclass Mended:\n{lines}'))
        return definition_of(module.Mended())


@pytest.fixture(
    params=[Setting(local, postponed) for local, postponed in product([False, True], repeat=2)],
    ids=lambda s: f"{'function' if s.local else 'module'}-{'postponed' if s.postponed else 'evaluated'}",
)
def setting(request: pytest.FixtureRequest) -> Setting:
    assert isinstance(request.param, Setting)
    return request.param


Refused = Callable[[str], Refusal]


@pytest.fixture
def blamed(setting: Setting) -> Refused:
    """Refuse a class and blame the line that says ``# blamed``, or ``# blamed: Class.method``."""

    def refuse(text: str) -> Refusal:
        source = setting.source(text)
        number, line = next((n, line) for n, line in enumerate(source.splitlines(), 1) if "# blamed" in line)
        handler = line.partition("# blamed: ")[2] or "Handler.handle"
        with pytest.raises(RoutingError) as caught:
            run(source, "handlers.py")
        error = caught.value
        assert (error.location, error.handler) == (f"handlers.py:{number}", handler)
        assert str(error).startswith(f"handlers.py:{number}: {handler}: ")
        return Refusal(error, [line.removeprefix("    ") for line in str(error).splitlines()[1:]])

    return refuse


@pytest.fixture
def refused(blamed: Refused, setting: Setting) -> Refused:
    """The same, and accept the lines that the error ends in."""

    def refuse(text: str) -> Refusal:
        refusal = blamed(text)
        refusal.mended = setting.mend(text, refusal.right)
        return refusal

    return refuse


def routes_of(cls: type) -> dict[str, Route]:
    return {route.method: route for route in definition_of(cls()).routes}


# What becomes of a class


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
        CREATED, ListingCreated, CREATED, "handle_listing_created", label, is_async=True, takes_context=False
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


def test_an_object_of_another_class_is_no_consumer() -> None:
    class Plain: ...

    with pytest.raises(RoutingError, match=r'Plain: is not a consumer.*\n    @kafka_consumer\(group_id="') as caught:
        definition_of(Plain())
    assert caught.value.location == f"{__file__}:{inspect.getsourcelines(Plain)[1]}"
    with pytest.raises(RoutingError, match="int: is not a consumer"):
        definition_of(1)


# What the payload is


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
def test_a_declared_topic_brings_its_class_however_broad_the_annotation(
    annotation: Any, expected: Any, target: Any
) -> None:
    assert payload(annotation, target) == expected


@pytest.mark.parametrize(
    "own", [Tolerant, Row, Wire, dict[str, Any], list[Tolerant], Tolerant | Row, ListingCreated], ids=str
)
def test_with_a_topic_string_the_payload_class_comes_from_the_annotation(own: Any) -> None:
    assert payload(CloudEvent[own]) == own


@pytest.mark.parametrize("own", [Tolerant, Row, Wire, dict[str, Any], Tolerant | None, EventData, object], ids=str)
def test_so_it_does_for_a_topic_that_nobody_declares(own: Any) -> None:
    assert payload(CloudEvent[own], "nobody.declares.this.v1") == own


def test_a_validator_in_the_annotation_is_kept() -> None:
    checked = Annotated[ListingCreated, AfterValidator(lambda listing: listing)]
    assert payload(CloudEvent[checked]) == checked
    assert payload(CloudEvent[checked], ListingCreated) == checked


def test_a_bare_event_of_an_unknown_topic_is_plain_json_of_any_type() -> None:
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


# Topics and payloads that do not fit


def test_a_misspelt_topic_is_answered_with_the_near_one_and_its_class(refused: Refused) -> None:
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
    assert f"topic '{CREATED}' carries ListingCreated, not {annotation}" in refusal.text
    assert refusal.right == [
        f"@on_message({target})",
        "async def handle(self, event: CloudEvent[ListingCreated]) -> None:",
    ]


@pytest.mark.parametrize("annotation", ["dict[str, Any]", "ListingStatistics", "int"])
def test_a_class_in_the_decorator_admits_no_payload_of_another_kind(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: CloudEvent[{annotation}]) -> None: ...
    """)
    assert f"carries ListingCreated, not {annotation}" in refusal.text
    assert refusal.right[1].endswith("(self, event: CloudEvent[ListingCreated]) -> None:")


def test_a_misspelt_topic_with_a_declared_class_is_a_contradiction_with_a_hint(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message("eventzr.marketplace.order.complete.v1")  # blamed
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)
    assert f"is not that of OrderCompleted (did you mean '{COMPLETED}'?)" in refusal.text
    assert refusal.route().topic == COMPLETED


def test_a_topic_that_resembles_none_is_held_against_the_class_of_the_annotation(refused: Refused) -> None:
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
def test_the_decorator_takes_a_topic_or_a_class_that_declares_one(refused: Refused, target: str, right: str) -> None:
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


def test_the_decorator_is_called_with_something(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message  # blamed
            async def handle(self, event: CloudEvent[OrderCompleted]) -> None: ...
    """)
    assert "needs a payload class or a topic" in refusal.text
    assert refusal.right[0] == "@on_message(OrderCompleted)"


# Signatures


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
def test_wrong_parameters_are_answered_with_the_methods_own_names(refused: Refused, given: str, right: str) -> None:
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
        (': CloudEvent["ListingCreated"]', "is annotated CloudEvent[ListingCreated], which names no class yet"),
    ],
)
def test_an_event_that_is_not_annotated_as_one_is_told_what_it_is(refused: Refused, annotation: str, said: str) -> None:
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
def test_a_name_that_exists_for_type_checkers_only_is_told(refused: Refused, annotation: str) -> None:
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
def test_an_annotation_that_makes_no_sense_is_refused_with_the_reason(refused: Refused, annotation: str) -> None:
    refusal = refused(f"""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: "{annotation}") -> None: ...
    """)
    assert "an annotation cannot be resolved (" in refusal.text
    assert "TYPE_CHECKING" not in refusal.text
    assert refusal.error.__cause__ is not None


# Not a method


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
def test_and_what_comes_out_of_the_decorators_above_is_one_too(refused: Refused, kind: str) -> None:
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


def test_a_lambda_is_no_method(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            handle = on_message(ListingCreated)(lambda self, event: None)  # blamed: Handler.<lambda>
    """)
    assert "is not a method" in refusal.text
    assert refusal.right[1] == "def handle(self, event: CloudEvent[ListingCreated]) -> None:"


def test_a_callable_object_is_no_method(refused: Refused) -> None:
    refusal = refused("""
        class Greeter:
            async def __call__(self, event: CloudEvent[ListingCreated]) -> None: ...
        @kafka_consumer(group_id="group")
        class Handler:
            handle = on_message(ListingCreated)(Greeter())  # blamed: Handler.Greeter
    """)
    assert "is a Greeter: put @on_message innermost, on a plain method" in refusal.text


def test_a_function_is_no_method(blamed: Refused) -> None:
    refusal = blamed("""
        @on_message(ListingCreated)  # blamed: handle
        async def handle(message: CloudEvent[ListingCreated], delivery: MessageContext) -> None: ...
    """)
    assert "is not a method: define it in its class" in refusal.text
    assert refusal.right == [
        "@on_message(ListingCreated)",
        "async def handle(self, message: CloudEvent[ListingCreated], delivery: MessageContext) -> None:",
    ]


def test_a_function_from_elsewhere_is_no_method(refused: Refused) -> None:
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
    assert refusal.mended is not None
    assert [(route.method, route.topic) for route in refusal.mended.routes] == [
        ("handle", CREATED),
        ("handle_2", UPDATED),
    ]


# Handlers that would go missing


def test_a_second_handler_of_the_same_name_does_not_replace_the_first(refused: Refused) -> None:
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


def test_nor_does_a_plain_method(refused: Refused) -> None:
    refusal = refused("""
        @kafka_consumer(group_id="group")
        class Handler:
            @on_message(ListingCreated)  # blamed
            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...

            async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
    """)
    assert "is hidden by a second definition" in refusal.text


def test_a_decorator_that_hides_the_method_is_told_to_use_wraps(refused: Refused) -> None:
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


def test_so_it_is_below_on_message(refused: Refused) -> None:
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


def test_an_inherited_handler_counts_against_the_one_of_the_class(blamed: Refused) -> None:
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


def test_an_inherited_annotation_means_what_it_means_in_its_own_module() -> None:
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


def test_it_may_belong_to_another_group() -> None:
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


# Generic bases

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


def test_a_base_that_is_named_with_its_class_need_not_be_named_so_again() -> None:
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


# Other decorators

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
    mended = source.replace("def call(*args: Any, **kwargs: Any) -> Any:", right).replace(
        "return method", "await method"
    )
    assert definition_of(run(mended).Handler()).routes[0].is_async


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


# The class decorator


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
def test_the_group_is_named(setting: Setting, arguments: str) -> None:
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
def test_a_wrong_option_is_told_where_the_class_is(blamed: Refused, arguments: str, said: str) -> None:
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


def test_a_function_is_no_consumer(blamed: Refused) -> None:
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


def test_a_payload_class_may_stand_in_the_consumer_or_in_the_function_around_it(setting: Setting) -> None:
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
