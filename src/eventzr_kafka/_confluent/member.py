"""The facts that one member of a group is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventzr_kafka._confluent.topic_ids import TopicIds

__all__ = ["Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """The facts of one member of a group.

    Attributes:
        config: The client's configuration, without callbacks.
        batch: Messages of one hop, at most.
        topic_ids: Tells a topic from a former one of its name.
        stops: Whether nothing is read any more of a partition from which records were lost.
    """

    group_id: str
    topics: tuple[str, ...]
    config: Mapping[str, Any]
    batch: int
    drain_timeout: float
    topic_ids: TopicIds
    stops: bool = False
