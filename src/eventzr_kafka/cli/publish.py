"""`eventzr-kafka publish`: one event, checked by its class and published to its topic."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from cyclopts import Parameter
from pydantic import ValidationError
from rich.text import Text

from eventzr_kafka.cli.durations import parse_duration
from eventzr_kafka.cli.terminal import Terminal, labelled
from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.errors import ProducerError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.construction import PayloadError, require_written
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.producing.delivery import PublishResult
from eventzr_kafka.producing.producer import EventProducer
from eventzr_kafka.safe_text import describe_faults
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Publication", "has_example", "publish_event"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Publication:
    """The event, except its topic."""

    tenant: str
    """Tenant that owns the event: its tenantid, and the key of its record."""
    data: str | None = None
    """Payload as a JSON object."""
    example: bool = False
    """Publish the example payload of the class; this is the default without --data."""
    subject: str | None = None
    """Subject of the event; taken from the payload if left out, such as listing:listing-uuid."""
    source: str | None = None
    """Service that publishes the event; needed if the class declares none."""
    id: str | None = None
    """Event id, to publish an event again; a new one if left out."""
    timeout: str = "10s"
    """Time to wait for the broker, such as 10s or 2m."""


def publish_event(topic: str, publication: Publication, settings: KafkaSettings, terminal: Terminal) -> None:
    """Publish one event, wait for the broker, and print its position.

    Raises:
        UsageError: No class is declared for the topic, or the payload does not fit the class.
        EncodeError: An attribute breaks the rules of the envelope.
        ProducerError: The broker did not acknowledge the event.
    """
    payload = _payload(_class_of(topic), publication)
    result = _send(payload, publication, settings)
    if result.status == "skipped":
        raise ProducerError("nothing was published: Kafka is disabled (KAFKA_ENABLED)")
    about = publication.subject or payload.default_subject()
    terminal.print(labelled("published", f"{topic}[{result.partition}]@{result.offset} on {settings.brokers}", "green"))
    terminal.print(Text(f"  tenant {publication.tenant}, subject {about}, event {result.event_id}", style="dim"))


def has_example(topic: str) -> bool:
    """True if `publish` has an example payload for a topic, and so needs no ``--data``."""
    declared = catalogue.lookup(topic)
    return declared is not None and _example(declared) is not None


def _class_of(topic: str) -> type[EventData]:
    declared = catalogue.lookup(topic)
    if declared is None:
        hint = "name the module that declares it: --module service.events"
        raise UsageError(catalogue.describe_undeclared(topic, hint))
    return declared


def _payload(kind: type[EventData], publication: Publication) -> EventData:
    if publication.data is not None and publication.example:
        raise UsageError("--data and --example exclude each other: give one of them")
    if publication.data is None:
        found = _example(kind)
        if found is None:
            raise UsageError(f"{kind.__qualname__} has no example: give --data '{{…}}'")
        return found
    try:
        payload = kind.model_validate_json(publication.data)
        require_written(payload)
    except ValidationError as error:
        raise UsageError(f"--data is not a {kind.__qualname__}: {describe_faults(error)}") from None
    except PayloadError as error:
        raise UsageError(f"--data is not a whole {error}") from None
    return payload


def _example(kind: type[EventData]) -> EventData | None:
    """An example of the class, from the function `example` of the package that declares it, if it has one."""
    package = sys.modules[kind.__module__.partition(".")[0]]
    example: Callable[[type[EventData]], EventData] | None = getattr(package, "example", None)
    try:
        return example(kind) if callable(example) else None
    except KeyError:
        return None


def _send(payload: EventData, publication: Publication, settings: KafkaSettings) -> PublishResult:
    if publication.source is None and payload.__source__ is None:
        raise UsageError(f"{type(payload).__qualname__} declares no source: give --source, such as marketplace-svc")
    try:
        timeout = max(1, round(parse_duration(publication.timeout) * 1000))
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None
    bounded = replace(settings, librdkafka={**settings.librdkafka, "delivery.timeout.ms": timeout})
    with EventProducer(source=publication.source, settings=bounded) as producer:
        delivery = producer.enqueue(
            payload, tenant_id=publication.tenant, subject=publication.subject, event_id=publication.id
        )
        return delivery.result()
