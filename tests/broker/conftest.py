"""A broker that logs in as MSK does, for the tests that ask for `msk`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.broker.msk_broker import ACCESS_KEY, SECRET_KEY, MskBroker, msk_broker

from eventzr_kafka.testing.kafka_server import KafkaUnavailableError


@pytest.fixture(scope="session")
def msk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MskBroker]:
    """The session's broker; where it cannot be had, its tests are skipped or fail as all with a real Kafka."""
    try:
        with msk_broker(tmp_path_factory.mktemp("msk")) as broker:
            yield broker
    except KafkaUnavailableError as error:
        if os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real":
            pytest.fail(f"no real Kafka: {error}", pytrace=False)
        pytest.skip(f"no real Kafka: {error}")


@pytest.fixture
def msk(msk_server: MskBroker, monkeypatch: pytest.MonkeyPatch) -> MskBroker:
    """The broker, with credentials in the environment that it knows."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return msk_server
