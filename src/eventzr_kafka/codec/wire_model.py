"""The model that reads events from the wire: `EventModel`, with what is true on the wire alone.

``specversion`` must be there: the default is a convenience of Python.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import ValidationError, create_model

from eventzr_kafka.errors import InvalidEnvelopeError
from eventzr_kafka.events.event_model import EventModel, event_model
from eventzr_kafka.kafka.record import Record

__all__ = ["read_envelope", "wire_model"]

_MANY = 100  # faults of one record that are counted and not listed


def wire_model(model: type[EventModel[Any]]) -> type[EventModel[Any]]:
    """Build the wire model of an event class. It only validates: what it fills is an object of that class."""
    fields: dict[str, Any] = {"specversion": (Literal["1.0"], ...)}
    wire = create_model(model.__name__, __base__=model, **fields)
    wire.model_rebuild(raise_errors=False)
    return wire


def read_envelope(record: Record, attributes: dict[str, Any]) -> EventModel[Any]:
    """Read the attributes of an event without its payload.

    Raises:
        pydantic.ValidationError: One does not fit.
        InvalidEnvelopeError: Very many do not.
    """
    bare = {name: part for name, part in attributes.items() if name not in ("data", "data_base64")}
    try:
        event: EventModel[Any] = _envelope().__pydantic_validator__.validate_python(bare, by_name=False)
    except ValidationError as error:
        if error.error_count() > _MANY:
            raise InvalidEnvelopeError(record, f"{error.error_count():,} faults") from None
        raise
    return event


@cache
def _envelope() -> type[EventModel[Any]]:
    return wire_model(event_model(Any))
