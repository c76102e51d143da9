"""A log that relays write to, and clients of it that fail as librdkafka does."""

from __future__ import annotations

from collections.abc import Callable

from eventzr_kafka import CloudEvent, KafkaSettings, OutgoingRecord, Record, decode
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure

FATAL = DeliveryFailure("_FATAL", "another batch failed", unknown=True)
TOO_LARGE = DeliveryFailure("MSG_SIZE_TOO_LARGE", "too large", unknown=False)
TOO_LARGE_FOR_CLIENT = DeliveryFailure("MSG_SIZE_TOO_LARGE", "too large", unknown=False, local=True)
NO_TOPIC = DeliveryFailure("_UNKNOWN_TOPIC", "no such topic", unknown=False)


class FakeKafka:
    """What was written, and what is done with the next records.

    Attributes:
        log: (tenant, event id) in the order of the appends.
        clients: How many clients were made.
        closed: How many of them were closed.
        failures: Event id → failure. A refused record makes its client fail all that follow.
        silent: Tenants whose records are appended without a report.
        missing: Topics that are not there; a client that has met one does not look again.
        asked: How often a record for one of those was produced.
        no_login: What a new client raises when it starts.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.clients = 0
        self.closed = 0
        self.failures: dict[str, DeliveryFailure] = {}
        self.silent: set[str] = set()
        self.missing: set[str] = set()
        self.asked = 0
        self.no_login: Exception | None = None

    def client(self, _settings: KafkaSettings) -> FakeClient:
        self.clients += 1
        return FakeClient(self)

    def of(self, tenant: str) -> list[str]:
        return [event_id for owner, event_id in self.log if owner == tenant]


class FakeClient:
    """A `ProducerTransport`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._held: list[DeliveryCallback] = []
        self._fatal = False
        self._unknown: set[str] = set()

    def start(self, reported: Callable[[], None]) -> None:
        self._reported = reported
        if self._kafka.no_login is not None:
            raise self._kafka.no_login

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        event = read(record)
        failure = FATAL if self._fatal else self._failure_of(event)
        if failure is not None:
            report(failure)
            if failure.reason != NO_TOPIC.reason and not failure.local:
                self._end(FATAL)
        else:
            self._kafka.log.append((event.tenantid, event.id))
            self._answer(event.tenantid, report)
        self._reported()
        return True

    def _failure_of(self, event: CloudEvent[object]) -> DeliveryFailure | None:
        if event.type in self._kafka.missing:
            self._unknown.add(event.type)
        if event.type in self._unknown:
            self._kafka.asked += 1
            return NO_TOPIC
        return self._kafka.failures.get(event.id)

    def _answer(self, tenant: str, report: DeliveryCallback) -> None:
        if tenant in self._kafka.silent:
            self._held.append(report)
        else:
            report(Acknowledgement(0, len(self._kafka.log)))

    def flush(self, timeout: float) -> int:
        return len(self._held) if timeout else 0

    def _end(self, failure: DeliveryFailure) -> None:
        """Fail whatever is under way."""
        self._fatal = True
        for report in self._held:
            report(failure)
        self._held.clear()

    def close(self) -> None:
        self._kafka.closed += 1
        self._end(DeliveryFailure("_DESTROY", "closed", unknown=True))


def read(record: OutgoingRecord) -> CloudEvent[object]:
    return decode(Record(record.topic, 0, 0, record.key, record.value, record.headers))
