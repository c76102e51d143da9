"""What a failure means."""

from __future__ import annotations

import pytest

from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.outbox.failures import Verdict, judge


@pytest.mark.parametrize(
    ("reason", "alone", "verdict"),
    [
        ("MSG_SIZE_TOO_LARGE", True, "unpublishable"),
        ("MSG_SIZE_TOO_LARGE", False, "again"),
        ("_QUEUE_FULL", True, "unpublishable"),
        ("RECORD_LIST_TOO_LARGE", True, "unpublishable"),
        ("TOPIC_EXCEPTION", True, "unpublishable"),
        ("INVALID_TIMESTAMP", True, "topic waits"),
        ("_FATAL", True, "again"),
        ("_INVALID_DIFFERENT_RECORD", False, "again"),
        ("UNKNOWN_TOPIC_OR_PART", False, "topic waits"),
        ("TOPIC_AUTHORIZATION_FAILED", True, "topic waits"),
    ],
)
def test_what_a_failure_means(reason: str, alone: bool, verdict: Verdict) -> None:  # noqa: FBT001
    assert judge(DeliveryFailure(reason, "", unknown=False), alone=alone) == verdict
