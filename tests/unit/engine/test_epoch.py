"""The committable offset of one epoch, and when it has changed."""

from contextlib import suppress

from eventzr_kafka.engine.commit_metadata import is_of_topic, read_metadata
from eventzr_kafka.engine.epoch import Epoch
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment

PARTITION = TopicPartition("orders", 0)


def half_finished(events: int) -> Epoch:
    epoch = Epoch(Assignment(PARTITION, 1, 0))
    epoch.ledger.receive(range(events))
    for offset in range(1, events, 2):
        epoch.ledger.finish(offset)
    return epoch


def test_last_commit_keeps_24000_events() -> None:
    epoch = half_finished(24_000)
    in_passing, last = epoch.take_committable(), epoch.take_committable(last=True)
    assert in_passing is not None
    assert last is not None
    assert 2_000 < len(read_metadata(0, in_passing.metadata)) < 2_100
    assert read_metadata(0, last.metadata) == set(range(1, 24_000, 2))


def test_unchanged_offset_is_no_news() -> None:
    epoch = half_finished(10)
    assert epoch.take_committable() is not None
    assert epoch.take_committable() is None
    assert epoch.take_committable(last=True) is None
    epoch.ledger.finish(0)
    news = epoch.take_committable()
    assert news is not None
    assert news.offset == 2


def test_unmoved_position_not_committed() -> None:
    assert Epoch(Assignment(PARTITION, 1, 7)).take_committable() is None
    assert Epoch(Assignment(PARTITION, 1)).take_committable() is None


def test_commit_names_its_topic() -> None:
    epoch = Epoch(Assignment(PARTITION, 1, 7, topic_id="new"))
    news = epoch.take_committable()
    assert news is not None
    assert is_of_topic(news.metadata, "new")
    assert not is_of_topic(news.metadata, "former")


def test_revocation_does_not_wait_during_a_pause() -> None:
    epoch = Epoch(Assignment(PARTITION, 1, 0))
    epoch.begin_running()
    with suppress(ZeroDivisionError), epoch.not_running():
        assert epoch.running == 0
        raise ZeroDivisionError  # as a task that is cancelled in the pause
    assert epoch.running == 1
    epoch.end_running()
    assert epoch.running == 0
