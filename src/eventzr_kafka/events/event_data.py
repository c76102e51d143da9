"""`EventData`: the payload classes of events, and the topics that they declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from eventzr_kafka.errors import EventDeclarationError
from eventzr_kafka.events.amounts import amounts_of, round_amounts
from eventzr_kafka.events.attributes import UriReference
from eventzr_kafka.events.construction import EventDataMeta
from eventzr_kafka.events.core_schema import nodes
from eventzr_kafka.events.json_numbers import apply_number_rules

__all__ = ["TOPIC_NAME", "EventData", "Sources", "declared_events", "source_set", "sources_accepted_by", "topic_of"]

Sources: TypeAlias = AbstractSet[str] | Literal["any"]
"""Values of ``source`` that are read on a topic: a set such as ``{"wallet-svc"}``, or ``any``."""


def _is_none(value: object) -> bool:
    return value is None


def _omit_none(schema: Any) -> None:
    """Leave out optional fields that are None."""
    for node in nodes(schema):
        if node.get("type") == "model-field" and node["schema"].get("default", ...) is None:
            node.setdefault("serialization_exclude_if", _is_none)


def _round_amounts(cls: type[BaseModel], schema: Any) -> None:
    fields = cls.__pydantic_fields__
    if amounts := amounts_of(fields.items()):
        round_amounts(schema, cls.__qualname__, {name: fields[name].alias or name for name in amounts})


class EventData(BaseModel, metaclass=EventDataMeta):
    """Base of every payload class, and of the objects inside one.

    ``class ListingCreated(EventData, topic="eventzr.marketplace.listing.created.v1", source="marketplace-svc")``
    declares an event. Fields are snake_case in Python and camelCase on the wire. Fields that the class does not know
    are kept when an event is read, and refused by the constructor; it alone demands the fields that are `Written`. A
    `~decimal.Decimal` is a JSON number on the wire, exact to 15 significant digits.

    Class keywords:
        topic: The Kafka topic, which is also the CloudEvents ``type``. Without it the class is a part of others.
        source: The service that emits the event, as it is written.
        accepts: Other spellings of ``source`` that are read on the topic, each a URI-reference; `source` itself is
            always among them. An event of any other source is refused. Left out, every source is read.
        subject: Template of the default subject with one or more fields in braces, such as ``listing:{id}``.
        dataschema: Absolute URI of the payload's schema, written into each event.
        partial: True for an event that carries only what changed: *absent*, *null* and *a value* are three things,
            ``model_fields_set`` tells the first two apart, and all survive a round trip. Otherwise an optional field
            that is None is left out.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    __topic__: ClassVar[str | None] = None
    __source__: ClassVar[str | None] = None
    __accepts__: ClassVar[frozenset[str] | None] = None
    __subject__: ClassVar[str | None] = None
    __dataschema__: ClassVar[str | None] = None
    __partial__: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        topic: str | None = None,
        source: str | None = None,
        accepts: AbstractSet[str] | None = None,
        subject: str | None = None,
        dataschema: str | None = None,
        partial: bool = False,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)
        texts: dict[str, object] = {"topic": topic, "source": source, "subject": subject, "dataschema": dataschema}
        wrong = [name for name, value in texts.items() if not isinstance(value, str | None)]
        if wrong or type(partial) is not bool:
            problem = f"{wrong[0]} must be a string" if wrong else "partial must be True or False"
            raise EventDeclarationError(f"{cls.__qualname__}: {problem}")
        if accepts is not None or source is not None:  # with a source of its own, it inherits no spellings
            cls.__accepts__ = None if accepts is None else _accepted(cls, source or cls.__source__, accepts)
        cls.__topic__ = topic
        cls.__source__ = source or cls.__source__
        cls.__subject__ = subject or cls.__subject__
        cls.__dataschema__ = dataschema
        cls.__partial__ = partial

    @classmethod
    def __pydantic_init_subclass__(cls, **_config: Any) -> None:
        if cls.__subject__ is not None:
            _check_subject(cls, cls.__subject__)
        _check_fields(cls)
        if cls.__topic__ is not None:
            _declare(cls, cls.__topic__)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        schema = handler(source)
        apply_number_rules(schema)
        _round_amounts(cls, schema)
        if not cls.__partial__:
            _omit_none(schema)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        from eventzr_kafka.events.json_schema import adapt_json_schema  # noqa: PLC0415 -- 10 ms, and seldom needed

        found = handler(core_schema)
        adapt_json_schema(cls, handler.resolve_ref_schema(found), handler.mode)
        return found

    def default_subject(self) -> str | None:
        """The subject that the class's template gives for this payload, or None if a field of it is None."""
        template, values = self.__subject__, self.__dict__
        if template is None:
            return None
        for name in _fields_in(template):
            if values[name] is None:
                return None
        return template.format_map(values)


# A topic is at most 249 of these characters: org.apache.kafka.common.internals.Topic.
TOPIC_NAME = re.compile(r"[A-Za-z0-9._\-]{1,249}")
_BRACES = re.compile(r"\{([^}]*)\}")
_declared: dict[str, type[EventData]] = {}


@cache
def _fields_in(template: str) -> tuple[str, ...]:
    return tuple(_BRACES.findall(template))


def topic_of(data_type: Any) -> str | None:
    """The topic that a payload class declares, or None, also for anything that is not a payload class."""
    return data_type.__topic__ if isinstance(data_type, type) and issubclass(data_type, EventData) else None


def sources_accepted_by(data_type: Any) -> frozenset[str] | None:
    """The sources that a payload class accepts on its topic; None for every one."""
    return data_type.__accepts__ if topic_of(data_type) is not None else None


def source_set(given: object) -> frozenset[str] | None:
    """Check a set of sources; None if it is empty, or something in it is not a URI-reference."""
    try:
        return TypeAdapter(frozenset[UriReference]).validate_python(given) or None
    except ValidationError:
        return None


def _accepted(cls: type[EventData], source: str | None, given: object) -> frozenset[str]:
    found = source_set(given)
    if found is None:
        problem = f'accepts={given!r}: must be one source or more, in a set such as {{"wallet-svc", "/wallet-svc"}}'
        raise EventDeclarationError(f"{cls.__qualname__}: {problem}")
    return found if source is None else found | {source}


def declared_events() -> Mapping[str, type[EventData]]:
    """Every payload class declared so far, by topic."""
    return _declared


def _declare(cls: type[EventData], topic: str) -> None:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not TOPIC_NAME.fullmatch(topic) or topic in {".", ".."}:
        problem = "a topic is 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-'"
        raise EventDeclarationError(f"{name}: topic={topic!r}: {problem}")
    other = _declared.get(topic)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        owner = f"{other.__module__}.{other.__qualname__}"
        raise EventDeclarationError(f"{name}: topic {topic!r} already belongs to {owner}: one class a topic")
    _declared[topic] = cls


def _check_fields(cls: type[EventData]) -> None:
    wire: dict[str, str] = {}
    for name, field in cls.model_fields.items():
        alias = field.alias or name
        if alias in wire:
            problem = f"fields {wire[alias]!r} and {name!r} are both {alias!r} on the wire"
            raise EventDeclarationError(f"{cls.__qualname__}: {problem}: rename one")
        wire[alias] = name
    if cls.__partial__ and cls.__topic__ is None:
        problem = "partial=True belongs to a class with a topic; in a part of a payload, absent and null would mix"
        raise EventDeclarationError(f"{cls.__qualname__}: {problem}")


def _check_subject(cls: type[EventData], template: str) -> None:
    wanted = _fields_in(template)
    unknown = [field for field in wanted if field not in cls.model_fields]
    stray = _BRACES.sub("", template)
    if unknown or not wanted or "{" in stray or "}" in stray:
        known = ", ".join(cls.model_fields)
        broken = "a brace stands without its pair" if wanted else "it names no field in braces"
        problem = f"{{{unknown[0]}}} is not a field" if unknown else broken
        raise EventDeclarationError(f"{cls.__qualname__}: subject={template!r}: {problem}; the fields are: {known}")
