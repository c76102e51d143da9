"""`EventModel`: the rules of an event's attributes, as a pydantic model.

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

The model only validates: users, and the rest of the SDK, get a `CloudEvent`, which costs a third to build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, cast

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
)

__all__ = ["ATTRIBUTES", "EventModel", "event_model"]

DataT = TypeVar("DataT", default=Any)


class EventModel(BaseModel, Generic[DataT]):
    """An event whose ``data`` fits `DataT`; the attributes are explained at `CloudEvent`."""

    __qualname__ = "CloudEvent"  # names the definition in JSON Schemas
    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        hide_input_in_errors=True,
        title="CloudEvent",
        defer_build=True,  # an import would pay for a schema that is not used
    )
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
    data: DataT = Field(default=None, validate_default=True)  # pyright: ignore[reportAssignmentType] -- None is validated against DataT

    @property
    def has_data(self) -> bool:
        """True if there is ``data``; JSON null counts as data."""
        return "data" in self.__pydantic_fields_set__

    @property
    def extensions(self) -> dict[str, ExtensionValue]:
        """The extension attributes besides ``tenantid``, by name."""
        return {name: value for name, value in (self.__pydantic_extra__ or {}).items() if value is not None}


def event_model(data_type: Any) -> type[EventModel[Any]]:
    """Return the model of the events whose payload has this type, with its schema built.

    Raises:
        pydantic.PydanticSchemaGenerationError: It is not a type.
    """
    model = cast("type[EventModel[Any]]", EventModel.__class_getitem__(data_type))
    model.model_rebuild(raise_errors=False)
    return model


ATTRIBUTES = frozenset(EventModel.model_fields)  # any other name is that of an extension
