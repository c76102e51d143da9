"""What a failure means."""

from __future__ import annotations

import pytest

from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.outbox.failures import RowAction, decide_action


@pytest.mark.parametrize(
    ("reason", "alone", "verdict"),
    [
        ("MSG_SIZE_TOO_LARGE", True, "unpublishable"),
        ("MSG_SIZE_TOO_LARGE", False, "resend"),
        ("_QUEUE_FULL", True, "unpublishable"),
        ("RECORD_LIST_TOO_LARGE", True, "unpublishable"),
        ("TOPIC_EXCEPTION", True, "unpublishable"),
        ("INVALID_TIMESTAMP", True, "delay_topic"),
        ("_FATAL", True, "resend"),
        ("_INVALID_DIFFERENT_RECORD", False, "resend"),
        ("UNKNOWN_TOPIC_OR_PART", False, "delay_topic"),
        ("TOPIC_AUTHORIZATION_FAILED", True, "delay_topic"),
    ],
)
def test_failure_decides_a_rows_action(reason: str, alone: bool, verdict: RowAction) -> None:  # noqa: FBT001
    assert decide_action(DeliveryFailure(reason, "", unknown=False), alone=alone) == verdict
