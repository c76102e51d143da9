"""What a failed handshake is called; tests/broker/test_tls.py has the real ones."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError
from tests.unit.manual_time import ManualTime
from tests.waiting import wait_until

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent import connection as connections
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.tls_faults import _client_fault, may_be_tls

DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)
FAULT = "TLS with b:9094: the broker's certificate has expired"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whom the probes were asked about; they answer one fault."""
    found: list[str] = []

    def answer(settings: KafkaSettings) -> str:
        found.append(settings.brokers)
        return FAULT

    monkeypatch.setattr(connections, "find_tls_fault", answer)
    yield found
    wait_until(lambda: not any("TLS probe" in thread.name for thread in threading.enumerate()))


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(1000.0)


@pytest.fixture
def monitor(time: ManualTime) -> ConnectionMonitor:
    log = logging.getLogger("eventzr_kafka.test")
    return ConnectionMonitor(log, "g", KafkaSettings(brokers="b:9094"), clock=time.clock)


def test_lost_brokers_are_probed_rarely(
    monitor: ConnectionMonitor, time: ManualTime, asked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (0, 1, 58, 1):
        time.now += seconds
        monitor.on_error(DOWN)
        wait_until(lambda: monitor.tls_fault == FAULT)
    wait_until(lambda: len(asked) == 2)
    assert [line for line in caplog.messages if FAULT in line] == [f"g: {FAULT}"]


def test_fault_ends_with_the_outage(monitor: ConnectionMonitor, asked: list[str]) -> None:
    monitor.on_error(DOWN)
    wait_until(lambda: monitor.tls_fault == FAULT)
    monitor.on_success()
    assert (monitor.tls_fault, asked) == (None, ["b:9094"])


@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError._RESOLVE, KafkaError._TIMED_OUT])
def test_other_errors_are_not_of_tls(code: int) -> None:
    assert not may_be_tls(KafkaError(code))


@pytest.mark.parametrize("reason", ["SSLV3_ALERT_BAD_CERTIFICATE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"])
def test_refused_client_certificate_is_not_a_missing_one(reason: str) -> None:
    error = ssl.SSLError()
    error.reason = reason
    missing = _client_fault(error, KafkaSettings())
    refused = _client_fault(error, KafkaSettings(librdkafka={"ssl.certificate.location": "client.pem"}))
    assert missing is not None
    assert refused is not None
    assert missing.problem == "the broker wants a certificate of the client, and there is none"
    assert refused.problem == "the broker refuses this client's certificate"


def test_other_alert_is_not_about_a_certificate() -> None:
    error = ssl.SSLError()
    error.reason = "TLSV1_ALERT_PROTOCOL_VERSION"
    assert _client_fault(error, KafkaSettings()) is None
