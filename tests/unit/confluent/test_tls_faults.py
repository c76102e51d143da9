"""What a failed handshake is called; tests/broker/test_tls.py has the real ones."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from tests.unit.manual_time import ManualTime
from tests.waiting import wait_until

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent import connection as connections
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.tls_faults import _client_fault, _context, may_be_tls

DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)
AUTHORITY = """-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUHTFQhoZW5+9BS61RyVcxpcMZcLMwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAgFw0yNjEyMDEwNzI5MDhaGA8yMTI2MTEwNzA3MjkwOFow
DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCKB8cWNUiWz
qjLDA03wd8IG7veX3Xjiner/ktC3UaDPgsgrN3Co+Q08lRwBSmFI0KwBGKHS++KK
f1myd0P7k9WjUzBRMB0GA1UdDgQWBBQ7ChLlHS5gOFvlTa2o1c+ig+xR5DAfBgNV
HSMEGDAWgBQ7ChLlHS5gOFvlTa2o1c+ig+xR5DAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIAjtkd6RGb83Rc+O7vo9DL+DucrhLT74omYaAdLHMXw+
AiB97/gKVTCVhTEQEtdAfXORPcEjOXdYZdm2IfFwrT6n6A==
-----END CERTIFICATE-----
"""
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
    wait_until(is_probed)


def is_probed() -> bool:
    """Return True once all probes have ended."""
    return not any("TLS probe" in thread.name for thread in threading.enumerate())


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


def test_flapping_connection_is_probed_rarely(monitor: ConnectionMonitor, time: ManualTime, asked: list[str]) -> None:
    for seconds in (0, 1, 58, 1):
        time.now += seconds
        monitor.on_error(DOWN)
        wait_until(is_probed)
        monitor.on_success()
    assert len(asked) == 2


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


@pytest.mark.parametrize("name", ["ssl.keystore.location", "ssl.certificate.pem"])
def test_certificate_that_is_not_probed_is_not_missing(name: str) -> None:
    error = ssl.SSLError()
    error.reason = "SSLV3_ALERT_CERTIFICATE_REQUIRED"
    assert _client_fault(error, KafkaSettings(librdkafka={name: "client"})) is None


def test_probe_trusts_authorities_in_memory_and_folders(tmp_path: Path) -> None:
    in_memory = _context(KafkaSettings(librdkafka={"ssl.ca.pem": AUTHORITY}))
    assert [found["subject"] for found in in_memory.get_ca_certs()] == [((("commonName", "a"),),)]
    in_folder = _context(KafkaSettings(librdkafka={"ssl.ca.location": str(tmp_path)}))
    assert in_folder.get_ca_certs() == []  # not the system's


def test_other_alert_is_not_about_a_certificate() -> None:
    error = ssl.SSLError()
    error.reason = "TLSV1_ALERT_PROTOCOL_VERSION"
    assert _client_fault(error, KafkaSettings()) is None
