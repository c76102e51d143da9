"""Failures that are reported in several threads at once."""

from __future__ import annotations

from eventzr_kafka.kafka.transport import DeliveryFailure
from eventzr_kafka.producing.delivery import Delivery
from eventzr_kafka.producing.outcomes import Outcomes

LOST = DeliveryFailure("_MSG_TIMED_OUT", "timed out", unknown=True)


class Interrupted(Delivery):
    """Another event fails while this one is counted, as it may in the client's thread."""

    interrupts = False

    @property
    def retrieved(self) -> bool:
        if self.interrupts:
            self.interrupts = False
            self._sink.fail(Delivery(self._sink, "e2", "t"), LOST)
        return False

    @retrieved.setter
    def retrieved(self, _value: bool) -> None:
        """Ignore it."""


def test_event_that_fails_during_a_count_is_in_the_next() -> None:
    outcomes = Outcomes()
    interrupted = Interrupted(outcomes, "e1", "t")
    outcomes.fail(interrupted, LOST)
    interrupted.interrupts = True
    assert (outcomes.unreported, outcomes.unreported) == (1, 2)


def test_event_that_fails_during_the_taking_is_not_lost() -> None:
    outcomes = Outcomes()
    interrupted = Interrupted(outcomes, "e1", "t")
    outcomes.fail(interrupted, LOST)
    interrupted.interrupts = True
    assert [delivery.event_id for delivery in outcomes.take_unreported()] == ["e1"]
    assert [delivery.event_id for delivery in outcomes.take_unreported()] == ["e2"]
