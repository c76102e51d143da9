"""`CloudEvent`: the CloudEvents 1.0.2 envelope with the platform's ``tenantid``.

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

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeVar

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
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.events.json_numbers import serializer_of

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent as ForeignCloudEvent

__all__ = [
    "CloudEvent",
    "DataT",
    "ExtensionValue",
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
        """True if there is ``data``; JSON null counts as data."""
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
            raise ValueError(f"{clash[0]} is not an extension: make another event")
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
        """The time at which the event stops being relevant; None if it is absent or not an RFC 3339 date-time."""
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
