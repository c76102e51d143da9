"""Where a partition ends, while its leader is being elected."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.unit.manual_time import ManualTime

from eventzr_kafka._confluent.log_reader import _end_offset


class Client:
    """Answers with these, one after the other."""

    def __init__(self, *answers: int | KafkaException) -> None:
        self.answers = list(answers)

    def get_watermark_offsets(self, _partition: object, *, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        answer = self.answers.pop(0)
        if isinstance(answer, KafkaException):
            raise answer
        return 0, answer


def failure(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


def test_missing_leader_is_retried() -> None:
    client = Client(failure(KafkaError.LEADER_NOT_AVAILABLE), failure(KafkaError.NOT_LEADER_FOR_PARTITION), 70)
    assert _end_offset(cast("Any", client), "t", 0, ManualTime().clock) == 70


def test_permanent_error_is_raised_at_once() -> None:
    client = Client(failure(KafkaError.TOPIC_AUTHORIZATION_FAILED), 70)
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        _end_offset(cast("Any", client), "t", 0, ManualTime().clock)
    assert client.answers == [70]
