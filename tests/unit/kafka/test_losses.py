"""The words for records that are gone, and when they are."""

import pytest

from eventzr_kafka.errors import OffsetsLostError
from eventzr_kafka.kafka.losses import Loss, find_loss
from eventzr_kafka.kafka.record import TopicPartition


@pytest.mark.parametrize(
    ("position", "loss"),
    [
        (9, Loss(9, 10, "retention")),
        (10, None),
        (20, None),
        (21, Loss(21, None, "truncated")),
    ],
)
def test_offset_in_its_log_is_no_loss(position: int, loss: Loss | None) -> None:
    assert find_loss(position, 10, 20) == loss


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss(3, 10, "retention"), "offsets 3 to 9 (7 at most) were deleted"),
        (Loss(3, None, "recreated"), "the topic was deleted and created again"),
        (Loss(3, None, "truncated"), "the log ends below offset 3"),
    ],
)
def test_loss_names_where_and_what_to_do(loss: Loss, words: str) -> None:
    error = OffsetsLostError("orders", TopicPartition("placed", 4), loss)
    assert f"orders: placed[4]: {words}" in str(error)
    assert "--reset-offsets" in str(error)
