"""Payload → event: the attributes that the producer fills in.

1. ``type`` is the topic that the payload class declares, ``tenantid`` what the caller passed or the handler inherits.
2. ``source`` is the producer's; where the class declares another one, the event is somebody else's to emit.
3. ``id`` is a UUIDv7 and ``time`` is now, unless they are given. ``subject`` comes from the class's template.
4. An event that is whole already keeps its attributes. Whatever is published in a handler keeps to its tenant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from time import time_ns
from typing import Any

from pydantic import ValidationError

from eventzr_kafka.errors import EncodeError, MissingTenantError
from eventzr_kafka.events.context import in_hand, inherited, require_own_tenant
from eventzr_kafka.events.event import CloudEvent, EventData, ExtensionValue, topic_of

__all__ = ["Enveloper", "renew_ids", "uuid7"]

_validate: Callable[[Any], CloudEvent[Any]] = CloudEvent[Any].__pydantic_validator__.validate_python


class Enveloper:
    """Makes the envelopes of one producer."""

    def __init__(
        self, source: str | None, *, now: Callable[[], datetime] | None = None, new_id: Callable[[], str] | None = None
    ) -> None:
        self._source = source
        self._now = now or _now
        self._new_id = new_id or _new_id

    def wrap(
        self, event: EventData | CloudEvent[Any], *, allow_cross_tenant: bool = False, **envelope: Any
    ) -> CloudEvent[Any]:
        """Make what is sent from what is published; the arguments are those of `EventProducer.publish`.

        Raises:
            CrossTenantError: In a handler, the event is another tenant's.
            EncodeError: As for a call.
        """
        held = in_hand()
        if not isinstance(event, CloudEvent):
            event = self(event, **(envelope if held is None else inherited(held, envelope)))
        elif envelope:
            raise TypeError(f"{next(iter(envelope))}= belongs to a payload; a CloudEvent brings its own attributes")
        if held is not None and not allow_cross_tenant:
            require_own_tenant(event, held)
        return event

    def __call__(
        self,
        data: EventData,
        *,
        tenant_id: str | None = None,
        subject: str | None = None,
        event_id: str | None = None,
        time: datetime | None = None,
        extensions: Mapping[str, ExtensionValue] | None = None,
    ) -> CloudEvent[Any]:
        """Put a payload into its envelope, inheriting nothing; the arguments are those of `EventProducer.publish`.

        Raises:
            MissingTenantError: There is no tenant.
            EncodeError: The class declares no topic, nobody says the source, or an attribute breaks a rule.
        """
        kind = type(data)
        topic = topic_of(kind)
        if topic is None:
            raise EncodeError("?", kind.__qualname__, "declares no topic: write class X(EventData, topic=…)")
        if tenant_id is None:
            raise MissingTenantError("?", topic)
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": self._new_id() if event_id is None else event_id,
            "type": topic,
            "source": _source(data, topic, self._source),
            "time": self._now() if time is None else time,
            "datacontenttype": "application/json",
            "subject": data.default_subject() if subject is None else subject,
            "dataschema": kind.__dataschema__,
            "tenantid": tenant_id,
            "data": data,
        }
        if extensions:
            attributes = _extended(attributes, extensions)
        try:
            return _validate(attributes)
        except ValidationError as error:
            raise EncodeError(str(attributes["id"]), topic, _first_fault(error)) from None


def _extended(attributes: dict[str, Any], extensions: Mapping[str, ExtensionValue]) -> dict[str, Any]:
    clash = sorted(attributes.keys() & extensions.keys())
    if clash:
        problem = f"extensions={{{clash[0]!r}: …}}: that attribute is no extension; it has an argument of its own"
        raise EncodeError(attributes["id"], attributes["type"], problem)
    return {**attributes, **extensions}


def _source(data: EventData, topic: str, producer_source: str | None) -> str:
    declared = data.__source__
    source = producer_source or declared
    if source is None:
        problem = "no source: pass EventProducer(source=…) or declare class X(EventData, source=…)"
        raise EncodeError("?", topic, problem)
    if declared is not None and declared != source:
        problem = f"{type(data).__qualname__} is emitted by {declared!r}; this producer is {source!r}"
        raise EncodeError("?", topic, problem)
    return source


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _now() -> datetime:
    return datetime.now(UTC)


_random = Random()  # noqa: S311 -- ids must differ, not be secret; a system call for each would cost more than the rest
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def renew_ids() -> None:
    """Draw ids anew, in a process that was restored from a snapshot which others were restored from too."""
    _random.seed()


def _new_id() -> str:
    return uuid7(time_ns() // 1_000_000, _random.getrandbits(74))


def uuid7(unix_ms: int, noise: int) -> str:
    """A UUIDv7 (RFC 9562), so that the ids of one producer sort by time.

    Args:
        unix_ms: Milliseconds since the Unix epoch.
        noise: 74 random bits.
    """
    high, low = unix_ms << 16 | 7 << 12 | noise >> 62, 2 << 62 | noise & (1 << 62) - 1
    text = f"{high << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
