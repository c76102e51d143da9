"""Events: the CloudEvents 1.0.2 envelope with the platform's ``tenantid``, and the payload classes inside it.

Rules of the envelope (CloudEvents 1.0.2, sections 2 and 3; the platform's guide for 8):

1. ``id``, ``source``, ``type`` and ``specversion`` "1.0" are required; only an extension may be an empty string.
2. ``source`` is a URI-reference, ``dataschema`` an absolute URI.
3. ``time`` is a full RFC 3339 date-time with a zone; it is written in UTC, with milliseconds and ``Z``. A leap second,
   which no datetime can hold, is read as the last microsecond before it: ``23:59:60Z`` is written ``23:59:59.999Z``.
4. ``datacontenttype`` is a media type (RFC 2045).
5. An extension's name is ``[a-z0-9]+``, its value a string, a boolean or a signed 32-bit integer.
6. JSON ``null`` means that an attribute is absent. For ``data`` it is a value: ``data: null`` is not "no data".
7. Strings hold no control characters.
8. ``tenantid`` is required, non-empty, and opaque.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema
from typing_extensions import TypeVar

from eventzr_kafka.errors import EventDeclarationError
from eventzr_kafka.events.attributes import (
    ExtensionName,
    ExtensionValue,
    MediaType,
    Moment,
    StoredExtension,
    Text,
    Uri,
    UriReference,
    read_moment,
)
from eventzr_kafka.events.json_numbers import apply_number_rules, serializer_of

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent as ForeignCloudEvent

__all__ = [
    "CloudEvent",
    "DataT",
    "EventData",
    "ExtensionValue",
    "declared_events",
    "format_time",
]

DataT = TypeVar("DataT", default=Any, covariant=True)  # noqa: PLC0105 -- users read it in signatures


class CloudEvent(BaseModel, Generic[DataT]):
    """A CloudEvent whose ``data`` is a `DataT`; bare ``CloudEvent`` means ``CloudEvent[Any]``.

    Attributes:
        id: Opaque; unique together with ``source``.
        source: URI-reference of the service that emitted the event.
        type: The event's type; on this platform also its topic.
        time: When it happened, or None.
        datacontenttype: Media type of ``data``; None means ``application/json``.
        dataschema: Absolute URI of the payload's schema, or None.
        subject: What the event is about, such as ``listing:<id>``, or None.
        tenantid: Owner of the event; always the record's key.
        data: The payload; None when it is JSON null or absent (see `has_data`).
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)
    if not TYPE_CHECKING:  # pydantic reads it; a type checker would take it for a field
        __pydantic_extra__: dict[ExtensionName, StoredExtension]

    specversion: Literal["1.0"] = "1.0"
    id: Text
    source: UriReference
    type: Text
    time: Moment | None = None
    datacontenttype: MediaType | None = None
    dataschema: Uri | None = None
    subject: Text | None = None
    tenantid: Text
    data: DataT = Field(default=None, validate_default=True, repr=False)  # pyright: ignore[reportAssignmentType] -- None is validated against DataT

    @property
    def has_data(self) -> bool:
        """Whether ``data`` is there at all; JSON null counts as data."""
        return "data" in self.__pydantic_fields_set__

    @property
    def extensions(self) -> Mapping[str, ExtensionValue]:
        """The extension attributes besides ``tenantid``, by name."""
        return {name: value for name, value in (self.__pydantic_extra__ or {}).items() if value is not None}

    def with_extensions(self, **extensions: ExtensionValue) -> Self:
        """A copy with these extension attributes added or replaced.

        Raises:
            pydantic.ValidationError: A name or value breaks rule 5.
            ValueError: The name is that of another attribute.
        """
        clash = sorted(extensions.keys() & CloudEvent.model_fields.keys())
        if clash:
            raise ValueError(f"{clash[0]} is no extension: make another event")
        given = {name: getattr(self, name) for name in self.__pydantic_fields_set__}
        return self.model_validate({**given, **self.extensions, **extensions})

    def _text(self, name: str) -> str | None:
        value = (self.__pydantic_extra__ or {}).get(name)
        return value if isinstance(value, str) else None

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of the span that published the event (distributed tracing extension)."""
        return self._text("traceparent")

    @property
    def tracestate(self) -> str | None:
        """Vendor part of the W3C trace context."""
        return self._text("tracestate")

    @property
    def partitionkey(self) -> str | None:
        """Partition key as a foreign SDK wrote it; this SDK's key is always the tenant."""
        return self._text("partitionkey")

    @property
    def correlationid(self) -> str | None:
        """Id shared by all events of one business flow."""
        return self._text("correlationid")

    @property
    def causationid(self) -> str | None:
        """Id of the event that caused this one."""
        return self._text("causationid")

    @property
    def dataref(self) -> str | None:
        """URI-reference of where the payload is stored (claim check)."""
        return self._text("dataref")

    @property
    def expirytime(self) -> datetime | None:
        """When the event stops being relevant, or None, also when the text is no RFC 3339 date-time."""
        text = self._text("expirytime")
        return None if text is None else read_moment(text)

    def to_cloudevents(self) -> ForeignCloudEvent:
        """The same event as an object of the ``cloudevents`` package; a payload class becomes JSON values."""
        from cloudevents.core.v1.event import CloudEvent as Foreign  # noqa: PLC0415 -- 83 ms

        names = (
            "specversion",
            "id",
            "source",
            "type",
            "time",
            "datacontenttype",
            "dataschema",
            "subject",
            "tenantid",
        )
        attributes = {name: value for name in names if (value := getattr(self, name)) is not None}
        data: Any = self.data
        if isinstance(data, BaseModel):
            changes_only = isinstance(data, EventData) and data.__partial__
            serializer = serializer_of(type(data))
            data = serializer.to_python(data, mode="json", by_alias=True, exclude_unset=changes_only)
        event = Foreign({**attributes, **self.extensions}, data)
        if self.time is None:
            event.get_attributes().pop("time", None)  # the package invents one
        return event

    @classmethod
    def from_cloudevents(cls, event: ForeignCloudEvent) -> Self:
        """Read an object of the ``cloudevents`` package.

        Raises:
            pydantic.ValidationError: An attribute breaks a rule; ``tenantid`` is the one most often missing.
        """
        given: dict[str, Any] = {k: v for k, v in event.get_attributes().items() if v is not None}
        data = event.get_data()
        return cls.model_validate(given if data is None else {**given, "data": data})


def format_time(moment: datetime) -> str:
    """``2026-03-02T12:00:00.000Z``: UTC, milliseconds, as the guide writes it.

    Args:
        moment: An aware datetime; anything finer than a millisecond is cut off.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def _is_none(value: object) -> bool:
    return value is None


def _omit_none(schema: Any) -> None:
    """Leave out optional fields that are None."""
    if isinstance(schema, list | tuple):
        for inner in cast("list[Any]", schema):
            _omit_none(inner)
    elif isinstance(schema, dict):
        part = cast("dict[str, Any]", schema)
        if part.get("type") == "model-field" and part["schema"].get("default", ...) is None:
            part.setdefault("serialization_exclude_if", _is_none)
        for key, inner in part.items():
            if key != "serialization":
                _omit_none(inner)


class EventData(BaseModel):
    """Base of every payload class, and of the objects inside one.

    ``class ListingCreated(EventData, topic="eventzr.marketplace.listing.created.v1", source="marketplace-svc")``
    declares an event. Fields are snake_case in Python and camelCase on the wire; fields that the class does not know
    are kept. A `~decimal.Decimal` is a JSON number on the wire, exact to 15 significant digits.

    Class keywords:
        topic: The Kafka topic, which is also the CloudEvents ``type``. Without it the class is a part of others.
        source: The service that emits the event.
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
    __subject__: ClassVar[str | None] = None
    __dataschema__: ClassVar[str | None] = None
    __partial__: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        topic: str | None = None,
        source: str | None = None,
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
        if not cls.__partial__:
            _omit_none(schema)
        return schema

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
    """The topic that a payload class declares, or None, also for anything that is no payload class."""
    return data_type.__topic__ if isinstance(data_type, type) and issubclass(data_type, EventData) else None


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
        problem = f"{{{unknown[0]}}} is no field" if unknown else broken
        raise EventDeclarationError(f"{cls.__qualname__}: subject={template!r}: {problem}; the fields are: {known}")
