"""`WireEvent`: the slots of an event, and how msgspec fills them from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from eventzr_kafka.events.attributes import ExtensionValue

__all__ = ["NOTHING", "SLOTS", "Rest", "WireEvent", "extensions_in_slots", "keep_extensions"]

_Text: TypeAlias = Annotated[str, Meta(min_length=1)]


class Rest:
    """The part of an event that has no slot of its own. msgspec does not know the class, and reads no JSON as one.

    Attributes:
        extensions: All extensions in their order; None means those that have a slot.
        has_data: False if there is no ``data``, not even null.
    """

    __slots__ = ("extensions", "has_data")

    def __init__(self, extensions: dict[str, ExtensionValue] | None, *, has_data: bool) -> None:
        self.extensions = extensions
        self.has_data = has_data


NOTHING = Rest(None, has_data=True)


class WireEvent(Struct, kw_only=True, eq=False, weakref=True):
    """An event while it is read: ``time`` is a text, ``data`` are bytes, and nothing is validated yet.

    It has the slots of a `CloudEvent`, which it becomes without a copy: by a change of its ``__class__``.
    """

    specversion: Literal["1.0"]
    id: _Text
    source: _Text
    type: _Text
    time: str | None = None
    datacontenttype: _Text | None = None
    dataschema: _Text | None = None
    subject: _Text | None = None
    tenantid: _Text
    data: Raw | UnsetType = UNSET
    traceparent: str | None = None
    tracestate: str | None = None
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    dataref: str | None = None
    _expirytime: str | None = msgspec.field(default=None, name="expirytime")
    _rest: Rest = NOTHING


SLOTS = {
    name: f"_{name}" if name == "expirytime" else name
    for name in ("correlationid", "causationid", "traceparent", "tracestate", "partitionkey", "dataref", "expirytime")
}


def extensions_in_slots(event: WireEvent) -> dict[str, ExtensionValue]:
    """The extensions that have a slot of their own."""
    return {name: text for name, slot in SLOTS.items() if (text := getattr(event, slot)) is not None}


def keep_extensions(event: WireEvent, more: Mapping[str, ExtensionValue]) -> None:
    """Add validated extensions that have no slot."""
    if more:
        rest = Rest({**extensions_in_slots(event), **more}, has_data=True)
        event._rest = rest  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- of a class of this module
