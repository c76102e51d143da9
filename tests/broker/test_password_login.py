"""Logging in with a user name and a password: both mechanisms, what is refused, and that no password is shown."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.broker.login_broker import PASSWORD, USER, LoginBroker, login_broker

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.cli.app import call
from eventzr_kafka.errors import AuthenticationError, DeliveryError
from eventzr_kafka.testing.kafka_server import KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS: Final = 60.0
QUICK: Final = {"delivery.timeout.ms": 4000, "reconnect.backoff.max.ms": 200}
WRONG: Final = "wrong-7391"


@pytest.fixture(scope="module")
def broker() -> Iterator[LoginBroker]:
    try:
        with login_broker() as found:
            yield found
    except KafkaUnavailableError as error:
        if os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real":
            pytest.fail(f"no real Kafka: {error}", pytrace=False)
        pytest.skip(f"no real Kafka: {error}")


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that is logged, at any level, is without a password."""
    caplog.set_level(logging.DEBUG)
    yield
    assert PASSWORD not in caplog.text
    assert WRONG not in caplog.text


def login(brokers: str, auth: str, *, password: str = PASSWORD) -> dict[str, str]:
    return {
        "KAFKA_BROKERS": brokers,
        "KAFKA_AUTH": auth,
        "KAFKA_TLS": "false",
        "KAFKA_USERNAME": USER,
        "KAFKA_PASSWORD": password,
    }


def event(topic: str) -> CloudEvent[Any]:
    return CloudEvent[Any](id="e1", source="test", type=topic, tenantid="t1", data=1)


@pytest.mark.parametrize("auth", ["plain", "scram"])
async def test_events_pass_with_a_password(broker: LoginBroker, auth: str) -> None:
    settings = KafkaSettings.from_env(login(broker.login, auth))
    topic, handled = f"login.{auth}.{uuid.uuid4().hex[:8]}", asyncio.Event()
    broker.server.create_topic(topic, partitions=1)

    @kafka_consumer(group_id=f"login-{auth}")
    class Handler:
        @on_message(topic)
        async def handle(self, event: CloudEvent[Any]) -> None:
            assert event.id == "e1"
            handled.set()

    async with asyncio.timeout(SECONDS), EventProducer(settings=settings) as producer:
        await producer.publish(event(topic))
        async with ConsumerRunner(Handler(), settings=settings):
            await handled.wait()


@pytest.mark.parametrize(
    ("auth", "reason"),
    [("plain", "Invalid username or password"), ("scram", "invalid credentials with SASL mechanism SCRAM-SHA-512")],
)
async def test_wrong_password_is_not_shown(
    broker: LoginBroker, auth: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = await refusal(broker.login, auth, password=WRONG)

    assert reason in str(refused)
    assert refused.identity == "KAFKA_USERNAME"
    assert refused.hint == "check KAFKA_AUTH and the credentials"

    for name, value in login(broker.login, auth, password=WRONG).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(call, ["doctor"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("✗")]
    assert line.startswith("✗ metadata ")
    assert reason in line
    assert WRONG not in line


async def test_missing_mechanism_is_named(broker: LoginBroker) -> None:
    refused = await refusal(broker.older, "scram")

    assert "SCRAM-SHA-512" in str(refused)
    assert "SCRAM-SHA-256" in str(refused)


async def refusal(brokers: str, auth: str, *, password: str = PASSWORD) -> AuthenticationError:
    """Why an event cannot be published."""
    found = KafkaSettings.from_env(login(brokers, auth, password=password))
    settings = KafkaSettings(
        brokers=found.brokers,
        auth=found.auth,
        tls=found.tls,
        username=found.username,
        password=found.password,
        librdkafka=QUICK,
    )
    async with EventProducer(settings=settings) as producer:
        with pytest.raises(DeliveryError) as caught:
            await producer.publish(event("login.refused"))
    assert password not in str(caught.value)
    assert isinstance(caught.value.__cause__, AuthenticationError)
    return caught.value.__cause__


def test_doctor_names_advertised_address(
    broker: LoginBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", broker.away)

    assert call(["doctor"]) == 1

    lines = capsys.readouterr().out.splitlines()
    (fault,) = [line for line in lines if line.startswith("✗")]
    assert fault.startswith(f"✗ metadata  1 broker: {broker.nothing}: Connection refused; ")
    assert "advertised.listeners to addresses that it reaches" in fault
    assert any(line.startswith("✓ TCP ") and broker.away in line for line in lines)
    assert "- topics    not tried" in lines
