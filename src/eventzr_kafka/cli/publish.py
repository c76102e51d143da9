"""`eventzr-kafka publish`: one event, checked by its class, on its way to a topic."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError
from rich.text import Text

from eventzr_kafka.cli.card import Screen, labelled
from eventzr_kafka.cli.loading import UsageError
from eventzr_kafka.errors import ProducerError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import EventData
from eventzr_kafka.producing.delivery import PublishResult
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Publication", "has_example", "publish"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Publication:
    """The event besides its topic."""

    tenant: str
    """Owner of the event: its tenantid and the record's key."""
    data: str | None = None
    """Payload as a JSON object."""
    example: Annotated[bool, Parameter(negative=())] = False
    """Take the example of the topic's class; the default without --data."""
    subject: str | None = None
    """What the event is about; else from the payload, such as listing:listing-uuid."""
    source: str | None = None
    """Service that emits it; needed where the class declares none."""
    id: str | None = None
    """Event id, to publish an event again; else a new one."""
    timeout: int = 10
    """Seconds that the broker may take."""


def publish(topic: str, publication: Publication, settings: KafkaSettings, screen: Screen) -> None:
    """Publish one event, wait for the broker, and say where the event is.

    Raises:
        UsageError: No class is declared for the topic, or the payload does not fit it.
        EncodeError: An attribute breaks the rules of the envelope.
        ProducerError: The broker did not take it.
    """
    payload = _payload(_declared(topic), publication)
    result = _send(payload, publication, settings)
    if result.status == "skipped":
        raise ProducerError("nothing was published: Kafka is disabled (KAFKA_ENABLED)")
    about = publication.subject or payload.default_subject()
    screen.say(labelled("published", f"{topic}[{result.partition}]@{result.offset} on {settings.brokers}", "green"))
    screen.say(Text(f"  tenant {publication.tenant}, subject {about}, event {result.event_id}", style="dim"))


def has_example(topic: str) -> bool:
    """Whether `publish` needs no ``--data`` for a topic."""
    declared = catalogue.lookup(topic)
    return declared is not None and _example(declared) is not None


def _declared(topic: str) -> type[EventData]:
    declared = catalogue.lookup(topic)
    if declared is None:
        near = catalogue.suggest(topic)
        hint = f"did you mean {near!r}?" if near else "name the module that declares it: --module service.events"
        raise UsageError(f"topic {printable(topic)!r} is declared nowhere; {hint}")
    return declared


def _payload(kind: type[EventData], publication: Publication) -> EventData:
    if publication.data is not None and publication.example:
        raise UsageError("--data and --example: give one of them")
    if publication.data is None:
        found = _example(kind)
        if found is None:
            raise UsageError(f"there is no example of {kind.__qualname__}: give --data '{{…}}'")
        return found
    try:
        return kind.model_validate_json(publication.data)
    except ValidationError as error:
        raise UsageError(f"--data is no {kind.__qualname__}: {_faults(error)}") from None


def _example(kind: type[EventData]) -> EventData | None:
    """An example of the class, from the function `example` of the package that declares it, if it has one."""
    package = sys.modules[kind.__module__.partition(".")[0]]
    example: Callable[[type[EventData]], EventData] | None = getattr(package, "example", None)
    try:
        return example(kind) if callable(example) else None
    except KeyError:
        return None


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"]))) for fault in faults)


def _send(payload: EventData, publication: Publication, settings: KafkaSettings) -> PublishResult:
    if publication.source is None and payload.__source__ is None:
        raise UsageError(f"{type(payload).__qualname__} declares no source: give --source, such as marketplace-svc")
    patient = replace(settings, librdkafka={**settings.librdkafka, "delivery.timeout.ms": publication.timeout * 1000})
    with EventProducer(source=publication.source, settings=patient) as producer:
        delivery = producer.enqueue(
            payload, tenant_id=publication.tenant, subject=publication.subject, event_id=publication.id
        )
        return delivery.result()
