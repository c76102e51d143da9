"""The configuration of one member of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventzr_kafka._confluent.topic_ids import TopicIds
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock

__all__ = ["Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """The configuration of one member of a group.

    Attributes:
        config: The client's configuration, without callbacks.
        batch: Messages that go to the event loop at once, at most.
        topic_ids: The ids of its topics: a recreated topic has another one.
        stops: True if a partition whose records were lost is not read any more.
    """

    group_id: str
    topics: tuple[str, ...]
    config: Mapping[str, Any]
    batch: int
    drain_timeout: float
    topic_ids: TopicIds
    stops: bool = False
    clock: Clock = SYSTEM_CLOCK
