"""The ids of a group's topics: a recreated topic has another one.

A consumer does not offer them. So an admin client of its own, in a thread of its own, asks every 15 seconds, and at
once when partitions are assigned. The embedded cluster does not answer: its ids stay unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import TopicCollection, admin

from eventzr_kafka._confluent.oauth import make_client

__all__ = ["TopicIds"]

_kafka: Any = admin  # the client's types say nothing of most of it
_INTERVAL = 15.0  # seconds between two requests
_TIMEOUT = 3.0  # seconds that a request may take
_LATE = 1.0  # seconds beyond it that the client may take to report the time-out


class TopicIds:
    """Looks up the ids of some topics, from `start` on."""

    def __init__(self, config: Mapping[str, Any], topics: Sequence[str]) -> None:
        """Take the configuration of an admin client; nothing connects yet."""
        self._config = {**config, "allow.auto.create.topics": False, "topic.metadata.refresh.interval.ms": -1}
        self._topics = list(topics)
        self._changed = threading.Condition()
        self._ids: Mapping[str, str] = {}
        self._asked = self._answered = 0
        self._unsupported = self._ended = False

    def start(self) -> None:
        """Start the thread, which looks the ids up at once."""
        threading.Thread(target=self._run, name="eventzr-kafka topic ids", daemon=True).start()

    def end(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def latest(self) -> Mapping[str, str]:
        """The known ids by topic, as of the last answer."""
        return self._ids

    def fresh(self) -> Mapping[str, str]:
        """Ask again and return the ids; waits for the answer, some seconds at most."""
        with self._changed:
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= asked or self._unsupported, _TIMEOUT)
            return self._ids

    def _run(self) -> None:
        client: Any = None
        while not self._unsupported and not self._ended:
            asked, found = self._asked, dict[str, str]()
            with suppress(Exception):  # the consumer's own client meets and reports the same error
                client = client or make_client(_kafka.AdminClient, self._config)
                self._unsupported = self._has_no_controller(client)
                found = {} if self._unsupported else self._request_ids(client)
            with self._changed:
                if found:
                    self._ids = {**self._ids, **found}
                self._answered = asked
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._asked > self._answered or self._ended, _INTERVAL)

    def _has_no_controller(self, client: Any) -> bool:
        """Return True for a cluster that never answers: the embedded one names a controller that does not exist."""
        metadata = client.list_topics(self._topics[0], timeout=_TIMEOUT)
        return bool(metadata.brokers) and metadata.controller_id not in metadata.brokers

    def _request_ids(self, client: Any) -> dict[str, str]:
        asked = client.describe_topics(TopicCollection(self._topics), request_timeout=_TIMEOUT)
        done = {topic: future for topic, future in asked.items() if future.exception(_TIMEOUT + _LATE) is None}
        return {topic: str(future.result().topic_id) for topic, future in done.items()}
