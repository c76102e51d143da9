"""The models that read events from the wire: the event class, with what is true on the wire alone.

1. ``specversion`` must be there: the default is a convenience of Python.
2. ``type`` is the one that the topic carries, and ``source`` one that the consumer allows.
3. A string of bytes without a backslash, without DEL and all ASCII can hold no control character once it is parsed, so
   that for such a record (the `plain` model) the strings of the envelope need not be looked through again. Nor does
   that model know leap seconds: the other one reads what it refuses.

A wire model only validates: what it fills is an object of the event class itself.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError, create_model

from eventzr_kafka.errors import InvalidEnvelopeError
from eventzr_kafka.events.attributes import PlainMoment
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.kafka.record import Record

__all__ = ["read_envelope", "wire_model"]

_MANY = 100  # faults of one record that are counted and not listed

_PlainText: TypeAlias = Annotated[str, Field(strict=True, min_length=1)]
_OptionalText: TypeAlias = Annotated[str | None, Field(strict=True, min_length=1)]
_OptionalMoment: TypeAlias = PlainMoment | None


def wire_model(
    model: type[CloudEvent[Any]], event_type: str | None, *, plain: bool, sources: frozenset[str] | None = None
) -> type[CloudEvent[Any]]:
    """Build one of the two wire models of an event class.

    Args:
        event_type: The only ``type`` that passes; None lets every type pass.
        plain: For records that rule 3 speaks of.
        sources: The only values of ``source`` that pass, each a URI-reference; None lets every one pass.
    """
    fields: dict[str, Any] = {"specversion": (Literal["1.0"], ...)}
    if event_type is not None:
        fields["type"] = (Literal[event_type], ...)
    if sources is not None:
        fields["source"] = (Literal[tuple(sorted(sources))], ...)
    if plain:
        fields |= {"id": (_PlainText, ...), "tenantid": (_PlainText, ...), "subject": (_OptionalText, None)}
        fields["time"] = (_OptionalMoment, None)
    return create_model(model.__name__, __base__=model, **fields)


def read_envelope(record: Record, attributes: dict[str, Any]) -> CloudEvent[Any]:
    """Read the attributes of an event without its payload.

    Raises:
        pydantic.ValidationError: One does not fit.
        InvalidEnvelopeError: Very many do not.
    """
    bare = {name: part for name, part in attributes.items() if name not in ("data", "data_base64")}
    try:
        event: CloudEvent[Any] = _envelope().__pydantic_validator__.validate_python(bare, by_name=False)
    except ValidationError as error:
        if error.error_count() > _MANY:
            raise InvalidEnvelopeError(record, f"{error.error_count():,} faults") from None
        raise
    return event


@cache
def _envelope() -> type[CloudEvent[Any]]:
    return wire_model(CloudEvent[Any], None, plain=False)
