"""The pytest plugin of eventzr-kafka: the fixtures ``events``, ``embedded_broker`` and ``kafka_broker``.

pytest loads this module in every run of every service that has the SDK installed. It is a package of its own, so that
nothing but this file is imported until a fixture is used, and coverage of the SDK itself is measured from the start.

The fixtures are plain functions: they work with pytest-asyncio in both modes, with anyio, and without either.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventzr_kafka import EmbeddedBroker
    from eventzr_kafka.testing import Events
    from eventzr_kafka.testing.kafka_server import KafkaServer

__all__ = ["embedded_broker", "events", "kafka_broker"]

_VARIABLE = "EVENTZR_KAFKA_TEST_BROKER"


@pytest.fixture
def events() -> Iterator[Events]:
    """Handlers on a broker in memory: subscribe them, emit events, look at what was published."""
    from eventzr_kafka.testing.events import Events  # noqa: PLC0415 -- only when it is used

    with Events() as kit:
        yield kit


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """An embedded cluster (mock brokers of librdkafka) over real sockets; its address is `bootstrap_servers`."""
    from eventzr_kafka import embedded_broker  # noqa: PLC0415 -- loads the Kafka client

    with embedded_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaServer]:
    """A real Apache Kafka for the whole session: in Docker where that runs, else its jars on the local JDK.

    Where neither is to be had, its tests are skipped; with ``EVENTZR_KAFKA_TEST_BROKER=real`` they fail.
    """
    from eventzr_kafka.testing.kafka_server import KafkaUnavailableError, start_kafka  # noqa: PLC0415

    try:
        server = start_kafka()
    except KafkaUnavailableError as error:
        if os.environ.get(_VARIABLE) == "real":
            pytest.fail(f"{_VARIABLE}=real, but {error}", pytrace=False)
        pytest.skip(str(error))
    with server:
        yield server
