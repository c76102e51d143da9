"""Logging in as on MSK: real tokens over TLS, sessions of 3 s, and what is refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from tests.broker.msk_broker import ACCESS_KEY, REGION, SECRET_KEY, TOPIC, MskBroker
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.errors import AuthenticationError, DeliveryError
from eventzr_kafka.msk.token import AwsCredentials, IamTokenProvider

AGAIN = 20  # re-authentications at least
PATIENCE = 60.0
QUICK = {"delivery.timeout.ms": 4000, "reconnect.backoff.max.ms": 200}


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "eventzr_kafka")


def event(number: int) -> CloudEvent[Any]:
    return CloudEvent(id=f"e{number}", source="test", type=TOPIC, tenantid=f"t{number % 7}", data=number)


@kafka_consumer(group_id="msk-readers")
class Reader:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        self.seen.append(event.data)


async def test_reauthentication_loses_no_event(msk: MskBroker, caplog: pytest.LogCaptureFixture) -> None:
    reader, published = Reader(), 0
    before = msk.reauthentications()
    async with EventProducer(settings=msk.settings) as producer, ConsumerRunner(reader, settings=msk.settings):
        async with asyncio.timeout(PATIENCE):
            while msk.reauthentications() - before < AGAIN:
                await asyncio.gather(*(producer.publish(event(published + number)) for number in range(50)))
                published += 50
        await until(lambda: len(reader.seen) >= published)

    assert sorted(reader.seen) == list(range(published))
    assert published >= 1000
    assert caplog.messages == []


def expired(monkeypatch: pytest.MonkeyPatch, settings: KafkaSettings) -> KafkaSettings:
    """Signed 20 minutes ago by the real signer; the client is told that it is good for longer."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now(UTC) - timedelta(minutes=20))
    from eventzr_kafka.msk._aws import load_credentials, sign_token  # noqa: PLC0415 -- the signer is loaded late

    token, _ = sign_token(REGION, load_credentials(REGION, None, None).current())
    return given(token, monkeypatch, settings)


def malformed(monkeypatch: pytest.MonkeyPatch, settings: KafkaSettings) -> KafkaSettings:
    return given("bm9uc2Vuc2U", monkeypatch, settings)


def given(token: str, monkeypatch: pytest.MonkeyPatch, settings: KafkaSettings) -> KafkaSettings:
    def sign(_region: str, _credentials: AwsCredentials) -> tuple[str, float]:
        return token, time.time() + 900

    use(IamTokenProvider(REGION, "a test", StaticCredentials, sign), monkeypatch)
    return settings


def use(provider: IamTokenProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    def provide(_region: str, _profile: str | None, _role_arn: str | None) -> IamTokenProvider:
        return provider

    monkeypatch.setattr("eventzr_kafka.msk.token._provider", provide)


def of_another_region(_: pytest.MonkeyPatch, settings: KafkaSettings) -> KafkaSettings:
    return replace(settings, aws_region="eu-west-1")


def signed_by_another_key(monkeypatch: pytest.MonkeyPatch, settings: KafkaSettings) -> KafkaSettings:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    return settings


class StaticCredentials:
    refreshes = True
    fault: ClassVar[Exception | None] = None

    def current(self) -> AwsCredentials:
        if self.fault is not None:
            raise self.fault
        return AwsCredentials(ACCESS_KEY, SECRET_KEY, None, "test", None)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (expired, "the token has expired"),
        (malformed, "the token is for null"),
        (of_another_region, "the token is for kafka.eu-west-1.amazonaws.com"),
        (signed_by_another_key, "the signature is wrong"),
    ],
)
async def test_bad_token_is_refused_with_its_identity(
    msk: MskBroker,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch, KafkaSettings], KafkaSettings],
    reason: str,
) -> None:
    settings = replace(spoil(monkeypatch, msk.settings), librdkafka=QUICK)

    with pytest.raises(DeliveryError) as caught:
        async with EventProducer(settings=settings) as producer:
            await producer.publish(event(0))

    cause = caught.value.__cause__
    assert isinstance(cause, AuthenticationError)
    assert f"refused: {reason}" in str(caught.value)
    assert "access key AKID…0001" in cause.identity


async def test_failing_provider_is_reported_once_and_recovers(
    msk: MskBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from eventzr_kafka.msk._aws import sign_token  # noqa: PLC0415 -- the signer is loaded late

    def sign(region: str, credentials: AwsCredentials) -> tuple[str, float]:
        return sign_token(region, credentials)[0], time.time() + 2  # the client asks again soon

    use(IamTokenProvider(REGION, "a test", StaticCredentials, sign), monkeypatch)
    async with EventProducer(settings=msk.settings) as producer:
        await producer.publish(event(0))
        monkeypatch.setattr(StaticCredentials, "fault", OSError("metadata service away"))
        await until(lambda: "OSError: metadata service away" in caplog.text)
        monkeypatch.setattr(StaticCredentials, "fault", None)
        await until(lambda: "token refresh works again" in caplog.text)
        await producer.publish(event(1))

    assert sum("OSError" in message for message in caplog.messages) <= 2  # the callback's own, and the client's
