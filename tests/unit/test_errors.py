"""Errors that leave the process in which they were raised."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from eventzr_kafka import PublishManyError, PublishResult
from eventzr_kafka.errors import (
    CrossTenantError,
    DeliveryError,
    EventzrKafkaError,
    MissingTenantError,
    QueueFullError,
    RetryLater,
    SettingsError,
)
from eventzr_kafka.outbox import OutboxFullError

ERRORS = [
    CrossTenantError("e1", "t", "acme", frozenset({"b"})),
    DeliveryError("e1", "t", "it timed out", "publish it again"),
    MissingTenantError("e1", "t"),
    OutboxFullError(3, 5, "enable Kafka"),
    QueueFullError("e1", "t", "no room", "wait"),
    RetryLater(after=5.0, why="busy"),
    SettingsError("KAFKA_BROKERS", "is empty"),
]
COPIES: list[Callable[[EventzrKafkaError], EventzrKafkaError]] = [copy.copy, lambda e: pickle.loads(pickle.dumps(e))]  # noqa: S301 -- our own


@pytest.mark.parametrize("made", COPIES, ids=["copied", "pickled"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_keeps_its_text_and_attributes(
    error: EventzrKafkaError, made: Callable[[EventzrKafkaError], EventzrKafkaError]
) -> None:
    error.add_note("seen")
    found = made(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("made", COPIES, ids=["copied", "pickled"])
def test_group_of_errors_keeps_its_results(made: Callable[[EventzrKafkaError], EventzrKafkaError]) -> None:
    published = PublishResult("acknowledged", "e1", "t", 0, 7)
    found = made(PublishManyError([published, DeliveryError("e2", "t", "it timed out", "publish it again")]))
    assert isinstance(found, PublishManyError)
    assert (found.results[0], str(found.results[1])) == (published, "event e2 for t: it timed out; publish it again")
    assert [str(error) for error in found.exceptions] == [str(found.results[1])]
