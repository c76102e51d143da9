"""`CloudEvent`: the CloudEvents 1.0.2 envelope with the platform's ``tenantid``.

1. An event is made by its constructor, which holds all attributes to the rules of event_model, or by a decoder.
2. It never changes. `CloudEvent.replace` and `CloudEvent.with_extensions` make another one, by the same rules.
3. pydantic reads and writes it wherever it is a field, a parameter or a response; a payload class in brackets is held
   to its own rules there: ``CloudEvent[X]`` as an annotation, `CloudEvent.of` at run time.

The class is a msgspec struct. A decoder has msgspec fill a `WireEvent` straight from JSON, puts a datetime in place of
the text of ``time`` and a payload in place of the bytes of ``data``, and makes it a `CloudEvent`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    Self,
    TypeAlias,
    cast,
    get_args,
    get_origin,
    overload,
)

from msgspec import StructMeta
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema, to_json
from typing_extensions import TypeVar, dataclass_transform

from eventzr_kafka.events.attributes import ExtensionValue, read_moment
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.events.event_model import ATTRIBUTES, EventModel, event_model
from eventzr_kafka.events.json_numbers import serializer_of, with_numbers
from eventzr_kafka.events.wire_event import NOTHING, SLOTS, Rest, WireEvent, extensions_in_slots

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent as ForeignCloudEvent

__all__ = [
    "CloudEvent",
    "DataT",
    "ExtensionValue",
    "event_of",
    "format_time",
]

DataT = TypeVar("DataT", default=Any, covariant=True)  # noqa: PLC0105 -- users read it in signatures
_T = TypeVar("_T")
_Class: TypeAlias = type[_T]  # in `CloudEvent`, ``type`` is an attribute
_NAMES = (
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


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _EventType(StructMeta):
    """Type of `CloudEvent` and its subclasses; calling one validates. A decoder does not come this way."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        cls: Any = super().__new__(mcs, name, bases, namespace, frozen=True, kw_only=True, eq=False, **options)
        if cls.__struct_fields__ != WireEvent.__struct_fields__:
            problem = "a subclass adds methods, not fields: an extension is read as event.extensions['name']"
            raise TypeError(f"{name}: {problem}")
        return cls

    if not TYPE_CHECKING:  # to a type checker, the constructor is the one that dataclass_transform describes

        def __call__(cls, /, **attributes: Any) -> Any:
            return event_of(_validator()(attributes), cls)


if TYPE_CHECKING:

    class _Slots:  # a type checker is not to see those of the wire
        pass

else:
    _Slots = WireEvent


class CloudEvent(_Slots, Generic[DataT], metaclass=_EventType):
    """A CloudEvent whose ``data`` is a `DataT`; bare ``CloudEvent`` means ``CloudEvent[Any]``.

    The constructor takes every attribute by its name, extensions too. It raises `pydantic.ValidationError`, which names
    the attributes that break a rule, and the rules. Extensions are read by name as well: ``event.region``.

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
        traceparent: W3C trace context of the span that published the event (distributed tracing extension), or None.
        tracestate: Vendor part of the W3C trace context, or None.
        partitionkey: Partition key as a foreign SDK wrote it, or None; this SDK's key is always the tenant.
        correlationid: Id shared by all events of one business flow, or None.
        causationid: Id of the event that caused this one, or None.
        dataref: URI-reference of where the payload is stored (claim check), or None.
    """

    if TYPE_CHECKING:
        specversion: Literal["1.0"] = "1.0"
        id: str
        source: str
        type: str
        time: datetime | None = None
        datacontenttype: str | None = None
        dataschema: str | None = None
        subject: str | None = None
        tenantid: str
        data: DataT = cast("DataT", None)
        traceparent: str | None = None
        tracestate: str | None = None
        partitionkey: str | None = None
        correlationid: str | None = None
        causationid: str | None = None
        dataref: str | None = None
        _expirytime: ClassVar[str | None]  # slots as well, but no arguments of the constructor
        _rest: ClassVar[Rest]

    @property
    def has_data(self) -> bool:
        """True if there is ``data``; JSON null counts as data."""
        return self._rest.has_data

    @property
    def extensions(self) -> Mapping[str, ExtensionValue]:
        """The extension attributes besides ``tenantid``, by name."""
        if self._rest.extensions is not None:
            return dict(self._rest.extensions)
        return extensions_in_slots(cast("WireEvent", self))

    @property
    def expirytime(self) -> datetime | None:
        """The time at which the event stops being relevant; None if it is absent or not an RFC 3339 date-time."""
        text: str | None = self._expirytime
        return None if text is None else read_moment(text)

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> ExtensionValue:
            found = (self._rest.extensions or {}).get(name)
            if found is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return found

    def replace(self, /, **attributes: Any) -> Self:
        """A copy with these attributes in place of its own; None takes an attribute away, and ``data`` becomes None.

        Raises:
            pydantic.ValidationError: An attribute breaks a rule.
        """
        return type(self)(**{**self._given(), **attributes})

    __replace__ = replace

    def with_extensions(self, /, **extensions: ExtensionValue) -> Self:
        """A copy with these extension attributes added or replaced.

        Raises:
            pydantic.ValidationError: A name or value breaks rule 5 of event_model.
            ValueError: The name is that of another attribute.
        """
        clash = sorted(extensions.keys() & ATTRIBUTES)
        if clash:
            raise ValueError(f"{clash[0]} is not an extension: make another event")
        return self.replace(**extensions)

    @classmethod
    def of(cls, data_type: _Class[_T]) -> TypeAdapter[CloudEvent[_T]]:
        """The adapter that reads and writes events of one payload class at run time.

        ``CloudEvent.of(ListingCreated).validate_json(text)`` holds ``data`` to the rules of its class, which the
        constructor does not: to it, ``CloudEvent[ListingCreated]`` is the same as ``CloudEvent``.
        """
        return _adapter(cls, data_type)

    def to_dict(self) -> dict[str, Any]:
        """The attributes that are present, extensions too, by name; a payload class becomes a dict with wire names."""
        return self._members("python")

    def to_json(self) -> str:
        """The event in the JSON format of CloudEvents, as in structured mode. Bytes stand in ``data_base64``.

        Raises:
            pydantic_core.PydanticSerializationError: The payload holds what is not JSON.
        """
        return to_json(self._members("json")).decode()

    def to_cloudevents(self) -> ForeignCloudEvent:
        """The same event as an object of the ``cloudevents`` package; a payload class becomes JSON values."""
        from cloudevents.core.v1.event import CloudEvent as Foreign  # noqa: PLC0415 -- 83 ms

        attributes = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        data: Any = _dumped(self.data, "json") if isinstance(self.data, BaseModel) else self.data
        event = Foreign({**attributes, **self.extensions}, data)
        if self.time is None:
            event.get_attributes().pop("time", None)  # the package invents one
        return event

    @overload
    @classmethod
    def from_cloudevents(cls, event: ForeignCloudEvent, data_type: None = None) -> CloudEvent[Any]: ...
    @overload
    @classmethod
    def from_cloudevents(cls, event: ForeignCloudEvent, data_type: _Class[_T]) -> CloudEvent[_T]: ...
    @classmethod
    def from_cloudevents(cls, event: ForeignCloudEvent, data_type: Any = None) -> CloudEvent[Any]:
        """Read an object of the ``cloudevents`` package.

        Args:
            data_type: Class of the payload; without it, ``data`` stays as it is.

        Raises:
            pydantic.ValidationError: An attribute breaks a rule; ``tenantid`` is the one most often missing.
        """
        given: dict[str, Any] = {k: v for k, v in event.get_attributes().items() if v is not None}
        data = event.get_data()
        if data is not None:
            given["data"] = data
        return cls(**given) if data_type is None else cls.of(data_type).validate_python(given)

    def _given(self) -> dict[str, Any]:
        """The constructor's arguments."""
        given = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        data = {"data": self.data} if self.has_data else {}
        return {**given, **data, **self.extensions}

    def _members(self, mode: Literal["python", "json"]) -> dict[str, Any]:
        members = {**self._given()}
        if mode == "json" and self.time is not None:
            members["time"] = format_time(self.time)
        if not self.has_data:
            return members
        data = members.pop("data")
        is_base64 = mode == "json" and isinstance(data, bytes)
        return {**members, "data_base64" if is_base64 else "data": _dumped(data, mode)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CloudEvent) and self._given() == other._given()  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash((self.source, self.id))

    def __repr__(self) -> str:
        given = self._given()
        given.pop("data", None)  # no payload in a log
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __rich_repr__(self) -> Any:
        given = self._given()
        given.pop("data", None)
        return given.items()

    def __reduce__(self) -> Any:
        return _restore, (type(self), {name: getattr(self, name) for name in WireEvent.__struct_fields__})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler, /) -> CoreSchema:
        model = handler.generate_schema(event_model(_data_type_of(source)))

        def validate(value: Any, validate_model: core_schema.ValidatorFunctionWrapHandler) -> CloudEvent[Any]:
            if not isinstance(value, CloudEvent):
                return event_of(validate_model(value), cls)
            given: Any = cast("Any", value)
            found = validate_model(given._given())  # noqa: SLF001 -- of this class
            return given if found.data is given.data and isinstance(given, cls) else event_of(found, cls)

        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(lambda found: event_of(found, cls), model),
            python_schema=core_schema.no_info_wrap_validator_function(validate, model),
            serialization=core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True),
        )


_HIDDEN = ConfigDict(hide_input_in_errors=True, title="CloudEvent")
_new = StructMeta.__call__  # without the validation that `_EventType` adds


def _data_type_of(annotation: Any) -> Any:
    """X of ``CloudEvent[X]``, or of a subclass of that."""
    kinds: tuple[type, ...] = getattr(annotation, "__mro__", ())
    bases: list[Any] = [base for kind in kinds for base in vars(kind).get("__orig_bases__", ())]
    aliases = [alias for alias in (annotation, *bases) if get_origin(alias) not in (None, Generic)]
    return get_args(aliases[0])[0] if aliases else Any


@cache
def _validator() -> Callable[..., EventModel[Any]]:
    return event_model(Any).__pydantic_validator__.validate_python


def event_of(model: EventModel[_T], kind: Any = CloudEvent) -> CloudEvent[_T]:
    """Make an event of attributes that were validated.

    Args:
        kind: `CloudEvent`, or a subclass of it.
    """
    extensions = model.extensions
    slots = {slot: text for name, slot in SLOTS.items() if isinstance(text := extensions.get(name), str)}
    rest = Rest(extensions, has_data=model.has_data) if extensions or not model.has_data else NOTHING
    event: CloudEvent[_T] = _new(kind, **model.__dict__, **slots, _rest=rest)
    return event


def _restore(kind: Any, fields: dict[str, Any]) -> CloudEvent[Any]:
    event: CloudEvent[Any] = _new(kind, **fields)
    return event


def _adapter(kind: Any, data_type: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(kind, data_type)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[X, [...]]
        return TypeAdapter(kind[data_type], config=_HIDDEN)


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any, data_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind[data_type], config=_HIDDEN)


def _serialize(event: CloudEvent[Any], info: core_schema.SerializationInfo) -> dict[str, Any]:
    mode: Literal["python", "json"] = "json" if info.mode == "json" else "python"
    return event._members(mode)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- of a class of this module


def _dumped(data: Any, mode: Literal["python", "json"]) -> Any:
    if isinstance(data, BaseModel):
        changes_only = isinstance(data, EventData) and data.__partial__
        return serializer_of(type(data)).to_python(data, mode=mode, by_alias=True, exclude_unset=changes_only)
    if mode == "json":
        return base64.b64encode(data).decode() if isinstance(data, bytes) else with_numbers(data)
    return data


def format_time(moment: datetime) -> str:
    """``2026-03-02T12:00:00.000Z``: UTC, milliseconds, as the guide writes it.

    Args:
        moment: An aware datetime; anything finer than a millisecond is cut off.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
