"""TLS that fails is named in words: by producers, consumers, admin commands and `doctor`, on real listeners."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.broker.tls_broker import STORE_SECRET, TlsBroker, tls_broker
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.cli.app import call
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.testing.kafka_server import KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK: Final = {"delivery.timeout.ms": 5000, "reconnect.backoff.max.ms": 200}
TO_PLAIN: Final = "the broker does not speak TLS on this port; set KAFKA_TLS=false, or take another port"
TO_TLS: Final = "the broker speaks TLS on this port, and this client does not; set KAFKA_TLS=true, or take another port"
FAULTS: Final = {
    "expired": "the broker's certificate has expired; renew the certificate; if it is valid, set the clock of this ",
    "early": "the broker's certificate is not yet valid; set the clock of this machine by NTP; if it is right, wait ",
    "other-authority": (
        "no authority that KAFKA_CA_FILE holds has signed the broker's certificate (self-signed certificate); "
        "set KAFKA_CA_FILE to the certificate of the authority that signed it"
    ),
    "system-authorities": "no authority that this machine trusts has signed the broker's certificate (self-signed ",
    "other-host": (
        "the broker's certificate is another host's: IP address mismatch, certificate is not valid for '127.0.0.1'; "
        "name the broker in KAFKA_BROKERS as its certificate does"
    ),
    "no-client-certificate": (
        "the broker wants a certificate of the client, and there is none; set ssl.keystore.location, or "
    ),
    "tls-to-plain": TO_PLAIN,
    "plain-to-tls": TO_TLS,
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    try:
        with tls_broker(tmp_path_factory.mktemp("tls")) as found:
            yield found
    except KafkaUnavailableError as error:
        if os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real":
            pytest.fail(f"no real Kafka: {error}", pytrace=False)
        pytest.skip(f"no real Kafka: {error}")


def variables(broker: TlsBroker) -> dict[str, dict[str, str]]:
    """The environment that leads to each of the faults."""
    return {
        "expired": tls(broker.expired, broker.authority("expired")),
        "early": tls(broker.early, broker.authority("early")),
        "other-authority": tls(broker.good, broker.authority("elsewhere")),
        "system-authorities": tls(broker.good, ""),
        "other-host": tls(broker.elsewhere, broker.authority("elsewhere")),
        "no-client-certificate": tls(broker.mutual, broker.authority("mutual")),
        "tls-to-plain": tls(broker.plain, broker.authority("good")),
        "plain-to-tls": {"KAFKA_BROKERS": broker.good},
    }


def tls(address: str, authority: str) -> dict[str, str]:
    return {"KAFKA_BROKERS": address, "KAFKA_TLS": "true", "KAFKA_CA_FILE": authority}


def quick(environ: dict[str, str]) -> KafkaSettings:
    found = KafkaSettings.from_env(environ)
    return KafkaSettings(brokers=found.brokers, tls=found.tls, ca_file=found.ca_file, librdkafka=QUICK)


def event(topic: str) -> CloudEvent[Any]:
    return CloudEvent[Any](id="e1", source="test", type=topic, tenantid="t1", data=1)


def wrong(texts: dict[str, str]) -> dict[str, str]:
    """Those that do not name their fault."""
    assert texts.keys() == FAULTS.keys()
    return {name: text for name, text in texts.items() if FAULTS[name] not in text}


async def test_producers_error_names_the_fault(broker: TlsBroker) -> None:
    async def refusal(environ: dict[str, str]) -> str:
        async with EventProducer(settings=quick(environ)) as producer:
            with pytest.raises(DeliveryError) as caught:
                await producer.publish(event("tls.refused"))
        return str(caught.value)

    cases = variables(broker)
    texts = await asyncio.gather(*(refusal(environ) for environ in cases.values()))  # each waits for its time-out
    assert wrong(dict(zip(cases, texts, strict=True))) == {}


async def test_consumer_logs_the_fault_once(broker: TlsBroker, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncExitStack() as stack:
        for name, environ in variables(broker).items():
            await stack.enter_async_context(ConsumerRunner(consumer(name), settings=quick(environ)))
        await until(lambda: len(fault_lines(caplog)) == len(FAULTS))
    assert wrong(fault_lines(caplog)) == {}
    assert len([line for line in caplog.messages if any(fault in line for fault in FAULTS.values())]) == len(FAULTS)


def consumer(name: str) -> object:
    @kafka_consumer(group_id=name)
    class Handler:
        @on_message("tls.refused")
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    return Handler()


def fault_lines(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """The line of each consumer about its fault, beside that about the lost connection."""
    lines = [line.partition(": ") for line in caplog.messages if "no connection to" not in line]
    return {group: text for group, _, text in lines if group in FAULTS and "127.0.0.1" in text}


def doctor(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code, and the line of the failed step, or that about TLS."""
    for name in ("KAFKA_BROKERS", "KAFKA_TLS", "KAFKA_CA_FILE"):
        monkeypatch.setenv(name, environ.get(name, ""))
    code = call(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    return code, next((line for line in lines if line.startswith("✗")), "".join(lines[3:4]))


def test_doctor_names_the_fault(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {name: doctor(environ, monkeypatch, capsys) for name, environ in variables(broker).items()}
    code, plain = found.pop("plain-to-tls")

    assert (code, plain.endswith("off, but the broker speaks TLS; set KAFKA_TLS=true, or take another port")) == (
        2,
        True,
    )
    assert {code for code, _ in found.values()} == {1}
    assert wrong({name: text for name, (_, text) in found.items()} | {"plain-to-tls": TO_TLS}) == {}


def test_doctor_passes_a_good_certificate(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = doctor(tls(broker.good, broker.authority("good")), monkeypatch, capsys)
    assert (code, line[0], "TLSv1.3, certificate valid until" in line) == (0, "✓", True)


def test_file_without_pem_is_refused(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = doctor(tls(broker.good, str(broker.client)), monkeypatch, capsys)
    assert code == 2
    assert f"KAFKA_CA_FILE: '{broker.client}' does not hold a certificate in PEM, which begins with" in line


def test_admin_command_names_the_fault(
    broker: TlsBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables(broker)["expired"].items():
        monkeypatch.setenv(name, value)
    assert call(["dlq", "ls", "some-group"]) == 1
    assert f"TLS with {broker.expired}: {FAULTS['expired']}" in " ".join(capsys.readouterr().err.split())


async def test_client_certificate_is_accepted(broker: TlsBroker) -> None:
    client = {"ssl.keystore.location": str(broker.client), "ssl.keystore.password": STORE_SECRET}
    settings = KafkaSettings(brokers=broker.mutual, tls=True, ca_file=broker.authority("mutual"), librdkafka=client)
    topic = f"tls.{uuid.uuid4().hex[:8]}"
    broker.server.create_topic(topic, partitions=1)
    async with EventProducer(settings=settings) as producer:
        assert (await producer.publish(event(topic))).status == "acknowledged"
