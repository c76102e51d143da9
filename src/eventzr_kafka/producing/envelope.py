"""Puts a payload into its envelope: the attributes that the producer fills in.

1. ``type`` is the topic that the payload class declares. ``tenantid`` is passed by the caller, or inherited from the
   event that is being handled.
2. ``source`` is the producer's. If the class declares another one, only another service may emit the event.
3. ``id`` is a UUIDv7 and ``time`` is now, unless the caller gives them. ``subject`` comes from the class's template.
4. A whole `CloudEvent` keeps its attributes. An event published in a handler must have the tenant of that handler's
   event.
5. Outside of handlers the caller names the tenant. The setting `outside_handlers` can warn once about a thread that a
   handler may have started (rule 6 of `context`), or refuse all that is published there without `allow_cross_tenant`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

from pydantic import ValidationError

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import CrossTenantError, EncodeError, MissingTenantError
from eventzr_kafka.events.context import in_hand, inherited, is_beside_handlers, require_own_tenant
from eventzr_kafka.events.event import CloudEvent, ExtensionValue
from eventzr_kafka.events.event_data import EventData, topic_of
from eventzr_kafka.events.event_model import ATTRIBUTES
from eventzr_kafka.safe_text import describe_faults, printable
from eventzr_kafka.settings import OutsideHandlers

__all__ = ["EnvelopeKeywords", "Enveloper", "ManyKeywords", "PublishKeywords"]

log = logging.getLogger("eventzr_kafka.producer")


_BESIDE = (
    "%s is published from thread %s, which has no event in hand, beside running handlers: if a handler has started the "
    "thread, it could publish for any tenant: give it the handler's context, with asyncio.to_thread or "
    "contextvars.copy_context().run; if it has not, KAFKA_OUTSIDE_HANDLERS=allow ends this warning"
)


class EnvelopeKeywords(TypedDict, total=False):
    """Keywords for the envelope of a payload; `EventProducer.publish` explains them."""

    subject: str | None
    event_id: str | None
    time: datetime | None
    extensions: Mapping[str, ExtensionValue] | None


class ManyKeywords(TypedDict, total=False):
    """Keywords of `EventProducer.publish_many`, which all payloads of the call share."""

    tenant_id: str
    time: datetime | None
    extensions: Mapping[str, ExtensionValue] | None
    allow_cross_tenant: bool


class PublishKeywords(EnvelopeKeywords, total=False):
    """Keywords of every method that publishes a payload; `EventProducer.publish` explains them."""

    tenant_id: str
    allow_cross_tenant: bool


class Enveloper:
    """Makes the envelopes of one producer.

    Attributes:
        outside: See rule 5; ``allow`` once the warning is logged.
    """

    def __init__(
        self, source: str | None, *, clock: Clock = SYSTEM_CLOCK, outside_handlers: OutsideHandlers = "allow"
    ) -> None:
        self._source = source
        self.outside: OutsideHandlers = outside_handlers
        self.wall = clock.wall
        self.new_id = clock.new_id

    def prepare_event(
        self, event: EventData | CloudEvent[Any], *, allow_cross_tenant: bool = False, **envelope: Any
    ) -> CloudEvent[Any]:
        """Make the event to send. In a handler it inherits tenant and causality from the handled event.

        The arguments are those of `EventProducer.publish`.

        Raises:
            CrossTenantError: In a handler, the event is another tenant's; or rule 5 refuses it.
            MissingTenantError: The tenant is neither given nor inherited.
            EncodeError: As for `build_event`.
        """
        held = in_hand()
        if not isinstance(event, CloudEvent):
            event = self.build_event(event, **(envelope if held is None else inherited(held, envelope)))
        elif envelope:
            raise TypeError(f"{next(iter(envelope))}= belongs to a payload; a CloudEvent brings its own attributes")
        if not allow_cross_tenant:
            if held is not None:
                require_own_tenant(event, held)
            elif self.outside != "allow":
                self._check_outside(event)
        return event

    def _check_outside(self, event: CloudEvent[Any]) -> None:
        if self.outside == "refuse":
            raise CrossTenantError(event.id, event.type, event.tenantid, frozenset())
        if is_beside_handlers():
            self.outside = "allow"  # once is enough
            log.warning(_BESIDE, printable(event.type), printable(threading.current_thread().name))

    def build_event(
        self,
        data: EventData,
        *,
        tenant_id: str | None = None,
        subject: str | None = None,
        event_id: str | None = None,
        time: datetime | None = None,
        extensions: Mapping[str, ExtensionValue] | None = None,
    ) -> CloudEvent[Any]:
        """Put a payload into its envelope; inherits nothing. The arguments are those of `EventProducer.publish`.

        Raises:
            MissingTenantError: `tenant_id` is missing.
            EncodeError: The class declares no topic, the source is unknown, or an attribute breaks a rule.
        """
        kind = type(data)
        topic = topic_of(kind)
        if topic is None:
            raise EncodeError("?", kind.__qualname__, "declares no topic: write class X(EventData, topic=…)")
        if tenant_id is None:
            raise MissingTenantError("?", topic)
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.new_id() if event_id is None else event_id,
            "type": topic,
            "source": _choose_source(data, topic, self._source),
            "time": datetime.fromtimestamp(self.wall(), UTC) if time is None else time,
            "datacontenttype": "application/json",
            "subject": data.default_subject() if subject is None else subject,
            "dataschema": kind.__dataschema__,
            "tenantid": tenant_id,
            "data": data,
        }
        if extensions:
            attributes = _with_extensions(attributes, extensions)
        try:
            return CloudEvent(**attributes)
        except ValidationError as error:
            raise EncodeError(str(attributes["id"]), topic, describe_faults(error)) from None


def _with_extensions(attributes: dict[str, Any], extensions: Mapping[str, ExtensionValue]) -> dict[str, Any]:
    clash = sorted(ATTRIBUTES & extensions.keys())
    if clash:
        problem = f"extensions={{{clash[0]!r}: …}}: that attribute is not an extension; it has an argument of its own"
        raise EncodeError(attributes["id"], attributes["type"], problem)
    return {**attributes, **extensions}


def _choose_source(data: EventData, topic: str, producer_source: str | None) -> str:
    declared = data.__source__
    source = producer_source or declared
    if source is None:
        problem = "no source: pass EventProducer(source=…) or declare class X(EventData, source=…)"
        raise EncodeError("?", topic, problem)
    if declared is not None and declared != source:
        problem = f"{type(data).__qualname__} is emitted by {declared!r}; this producer is {source!r}"
        raise EncodeError("?", topic, problem)
    return source
