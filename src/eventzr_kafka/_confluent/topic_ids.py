"""The ids of a group's topics: a topic that was deleted and made anew has another one.

A consumer cannot be asked for them; a client of its own is, in a thread of its own: again and again, and at once when
partitions were assigned. Where no answer is to be had, as from the embedded cluster, no id is known.
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
_INTERVAL = 15.0  # seconds between two looks
_TIMEOUT = 3.0  # seconds that a look may take
_LATE = 1.0  # seconds beyond it that the client may take to say so


class TopicIds:
    """Looks the ids of some topics up; `start` begins."""

    def __init__(self, config: Mapping[str, Any], topics: Sequence[str]) -> None:
        """Take the configuration of an admin client; nothing connects yet."""
        self._config = {**config, "allow.auto.create.topics": False, "topic.metadata.refresh.interval.ms": -1}
        self._topics = list(topics)
        self._news = threading.Condition()
        self._ids: Mapping[str, str] = {}
        self._asked = self._answered = 0
        self._hopeless = self._ended = False

    def start(self) -> None:
        """Look for the first time, in the thread."""
        threading.Thread(target=self._run, name="eventzr-kafka topic ids", daemon=True).start()

    def end(self) -> None:
        """Let the thread end."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def latest(self) -> Mapping[str, str]:
        """By topic, as far as they are known: what the last look has brought."""
        return self._ids

    def fresh(self) -> Mapping[str, str]:
        """Look again and wait for that, some seconds at most."""
        with self._news:
            self._asked += 1
            asked = self._asked
            self._news.notify_all()
            self._news.wait_for(lambda: self._answered >= asked or self._hopeless, _TIMEOUT)
            return self._ids

    def _run(self) -> None:
        client: Any = None
        while not self._hopeless and not self._ended:
            asked, found = self._asked, dict[str, str]()
            with suppress(Exception):  # the consumer's own client has the same, and reports it; the next look comes
                client = client or make_client(_kafka.AdminClient, self._config)
                self._hopeless = self._has_no_controller(client)
                found = {} if self._hopeless else self._look(client)
            with self._news:
                if found:
                    self._ids = {**self._ids, **found}
                self._answered = asked
                self._news.notify_all()
                self._news.wait_for(lambda: self._asked > self._answered or self._ended, _INTERVAL)

    def _has_no_controller(self, client: Any) -> bool:
        """Find out if these questions are never answered: the embedded cluster names a controller that is not there."""
        metadata = client.list_topics(self._topics[0], timeout=_TIMEOUT)
        return bool(metadata.brokers) and metadata.controller_id not in metadata.brokers

    def _look(self, client: Any) -> dict[str, str]:
        asked = client.describe_topics(TopicCollection(self._topics), request_timeout=_TIMEOUT)
        done = {topic: future for topic, future in asked.items() if future.exception(_TIMEOUT + _LATE) is None}
        return {topic: str(future.result().topic_id) for topic, future in done.items()}
