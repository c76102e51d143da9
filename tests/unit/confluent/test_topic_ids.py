"""The ids of topics, asked of an admin client that only pretends."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from eventzr_kafka._confluent import topic_ids as module
from eventzr_kafka._confluent.topic_ids import TopicIds

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admin:
    """Knows the ids that the test gives it; ``controller`` is 1 where these questions are answered."""

    def __init__(self) -> None:
        self.ids = {"orders": "a"}
        self.controller = 1
        self.fault: KafkaException | None = None
        self.looks = 0
        self.late = False

    def list_topics(self, _topic: str, *, timeout: float) -> Any:
        assert timeout > 0
        if self.fault is not None:
            raise self.fault
        return SimpleNamespace(brokers={1: "here"}, controller_id=self.controller)

    def describe_topics(self, topics: Any, *, request_timeout: float) -> dict[str, Future[Any]]:
        assert request_timeout > 0
        assert topics is not None
        self.looks += 1
        found: dict[str, Future[Any]] = {"missing": Future()}
        found["missing"].set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        if self.late:
            found["orders"] = Future()
        for name, topic_id in self.ids.items():
            found[name] = Future()
            found[name].set_result(SimpleNamespace(topic_id=topic_id))
        return found


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    admin = Admin()

    def make_client(_kind: object, _config: object) -> Admin:
        return admin

    monkeypatch.setattr(module, "make_client", make_client)
    monkeypatch.setattr(module, "_TIMEOUT", 5.0)
    return admin


@pytest.fixture
def ids(admin: Admin) -> Iterator[TopicIds]:
    assert admin.looks == 0
    ids = TopicIds({}, ["orders", "missing"])
    yield ids
    ids.end()
    for thread in threading.enumerate():
        if thread.name == "eventzr-kafka topic ids":
            thread.join(60)


def test_each_look_brings_current_ids(admin: Admin, ids: TopicIds) -> None:
    ids.start()
    assert ids.fresh() == {"orders": "a"}
    admin.ids = {"orders": "b"}
    assert ids.fresh() == {"orders": "b"}
    assert ids.latest == {"orders": "b"}


def test_failed_lookup_keeps_known_ids(admin: Admin, ids: TopicIds) -> None:
    ids.start()
    ids.fresh()
    admin.fault = KafkaException(KafkaError(KafkaError._TRANSPORT))
    assert ids.fresh() == {"orders": "a"}


def test_unanswered_look_is_repeated(admin: Admin, ids: TopicIds, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.ids, admin.late = {}, True
    monkeypatch.setattr(module, "_LATE", -4.99)
    ids.start()
    assert ids.fresh() == {}
    admin.ids, admin.late = {"orders": "b"}, False
    assert ids.fresh() == {"orders": "b"}


def test_silent_brokers_are_asked_no_more(admin: Admin, ids: TopicIds) -> None:
    admin.controller = 0
    ids.start()
    assert [ids.fresh() for _ in range(3)] == [{}, {}, {}]
    assert admin.looks == 0
