"""Made-up events: payloads and whole events that are valid on the wire, from polyfactory.

::

    listings = event_factory(ListingCreated)
    listings.build(title="Hall")                     # a payload; the other fields are made up
    listings.event(tenant_id="t1", title="Hall")     # with its envelope

1. Each payload has been encoded and decoded: a consumer would get the same one, to the millisecond.
2. A Decimal has two places and mostly few digits, as amounts have.
3. A payload that a validator of the class refuses is made up anew, 100 times at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Generic, TypeGuard, TypeVar, get_origin

from pydantic import AwareDatetime, ValidationError

from eventzr_kafka.codec.decoder import decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.errors import MissingExtraError
from eventzr_kafka.events.construction import is_written
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.producing.envelope import Enveloper

try:
    from faker import Faker
    from polyfactory.factories.pydantic_factory import ModelFactory
except ImportError:
    raise MissingExtraError("testing", "event_factory") from None

__all__ = ["EventFactory", "event_factory"]

EventT = TypeVar("EventT", bound=EventData)

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_YEAR_MS = 365 * 24 * 3600 * 1000
_TRIES = 100


def event_factory(kind: type[EventT], *, seed: int | None = None) -> EventFactory[EventT]:
    """Make a factory of one payload class.

    Args:
        kind: A class with a topic.
        seed: The same seed makes the same payloads; without one they differ each time.
    """
    return EventFactory(kind, seed)


class _WireFactory(ModelFactory[EventData]):
    """The polyfactory factory of payloads, and of the objects inside them."""

    __is_base_factory__ = True

    @classmethod
    def is_supported_type(cls, value: Any) -> TypeGuard[type[EventData]]:
        kind = value.__origin__ if get_origin(value) is Annotated else value
        return isinstance(kind, type) and issubclass(kind, EventData)

    @classmethod
    def should_set_none_value(cls, field_meta: Any) -> bool:
        """Written fields have a value, as their constructor demands."""
        field = cls.__model__.model_fields.get(field_meta.name)
        return not (field is not None and is_written(field)) and super().should_set_none_value(field_meta)

    @classmethod
    def get_provider_map(cls) -> dict[Any, Callable[[], Any]]:
        return {**super().get_provider_map(), **_providers(cls.__random__)}

    @classmethod
    def get_constrained_field_value(cls, annotation: Any, field_meta: Any, *args: Any, **more: Any) -> Any:
        if annotation is Decimal:
            return _amount(cls.__random__, field_meta.constraints or {})
        return super().get_constrained_field_value(annotation, field_meta, *args, **more)


class EventFactory(Generic[EventT]):
    """Makes payloads and events of one class; given fields are used unchanged."""

    def __init__(self, kind: type[EventT], seed: int | None) -> None:
        """Prepare; see `event_factory`."""
        faker, chance = Faker(), Random(seed)  # noqa: S311 -- to be repeated
        if seed is not None:
            faker.seed_instance(seed)
        self._factory = _WireFactory.create_factory(kind, __faker__=faker, __random__=chance)
        self._kind = kind
        self._enveloper = Enveloper(kind.__source__ or "test")

    def build(self, **fields: Any) -> EventT:
        """Make a payload.

        Args:
            fields: By Python name.

        Raises:
            pydantic.ValidationError: A given field is invalid, or no payload passed the validators of the class.
        """
        return self.event(**fields).data

    def batch(self, size: int, **fields: Any) -> list[EventT]:
        """Make several payloads that share the given fields."""
        return [self.build(**fields) for _ in range(size)]

    def event(self, *, tenant_id: str = "tenant-1", **fields: Any) -> CloudEvent[EventT]:
        """Make a payload and put it into an envelope."""
        encoded = encode(self._enveloper.build_event(self._payload(fields), tenant_id=tenant_id))
        return decode(Record(encoded.topic, 0, 0, *encoded[1:]), self._kind)

    def _payload(self, fields: dict[str, Any]) -> EventT:
        for _ in range(_TRIES):
            with suppress(ValidationError):
                return self._try_payload(fields)
        return self._try_payload(fields)

    def _try_payload(self, fields: dict[str, Any]) -> EventT:
        payload: EventT = self._kind.model_validate(self._factory.process_kwargs(**fields))
        return payload


def _providers(chance: Random) -> dict[Any, Callable[[], Any]]:
    """Make what a seed repeats: the library's own dates count from now."""

    def moment() -> datetime:
        return _BEGIN + timedelta(milliseconds=chance.randrange(_YEAR_MS))

    return {
        Decimal: lambda: _amount(chance, {}),
        datetime: moment,
        AwareDatetime: moment,
        date: lambda: moment().date(),
        time: lambda: moment().time(),
        float: lambda: float(_amount(chance, {})),
    }


def _amount(chance: Random, bounds: Mapping[str, Any]) -> Decimal:
    """Draw a Decimal with two places; without an upper bound, small ones are as likely as large ones."""
    lowest = Decimal(bounds.get("ge", bounds.get("gt", 0)))
    highest = bounds.get("le", bounds.get("lt"))
    cents = 10 ** chance.randint(1, 9) if highest is None else int((Decimal(highest) - lowest) * 100)
    return lowest + Decimal(chance.randint(0, max(cents, 0))) / 100
