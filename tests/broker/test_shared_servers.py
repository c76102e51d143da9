"""The broker that the processes of a test session share."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests import shared_servers
from tests.shared_servers import ServerKeeper, shared_kafka

from eventzr_kafka.testing.kafka_server import KafkaServer, KafkaServerError, KafkaUnavailableError


@pytest.fixture
def keeper() -> Iterator[ServerKeeper]:
    keeper = ServerKeeper()
    yield keeper
    keeper.close()


def test_first_process_starts_broker(kafka: KafkaServer, keeper: ServerKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    started = [SimpleNamespace(_backend=kafka._backend, close=list[None])]
    monkeypatch.setattr(shared_servers, "start_kafka", started.pop)

    servers = [shared_kafka(keeper.address) for _ in range(3)]

    assert {server.bootstrap_servers for server in servers} == {kafka.bootstrap_servers}
    assert servers[0].tool("kafka.tools.StorageTool", "random-uuid", bootstrap=False).strip()
    for end in (servers[0].kill, servers[0].stop):
        with pytest.raises(KafkaServerError, match="ask for `own_kafka`"):
            end()
    servers[0].close()
    assert kafka.running


def test_every_process_is_told_why_there_is_none(keeper: ServerKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> KafkaServer:
        raise KafkaUnavailableError("no JDK")

    monkeypatch.setattr(shared_servers, "start_kafka", refuse)

    for _ in range(2):
        with pytest.raises(KafkaUnavailableError, match="no JDK"):
            shared_kafka(keeper.address)
