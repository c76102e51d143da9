"""Sends the events of a refused batch again, one by one: a broker refuses a batch as a whole for its size.

The Java client divides a batch that is larger than the topic's ``max.message.bytes``; librdkafka does not, and after an
outage thousands of small events would fail as too large. `KafkaSettings.batch_bytes` prevents that. If it does not:

1. From the first refused batch on, further events for its topic wait here, until the client has no event of the topic
   in flight. Those may be refused too, or be stored before the refused ones, which cannot be undone.
2. Then a second client sends the refused events, one in each batch, and the waiting ones after them. So events of one
   key keep their order, except for those that the first client has stored meanwhile: the log names their offsets.
3. An event that is refused alone is too large, and fails.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from eventzr_kafka.kafka.record import OutgoingRecord, TopicPartition, describe_offsets
from eventzr_kafka.kafka.transport import (
    DeliveryCallback,
    DeliveryFailure,
    DeliveryOutcome,
    ProducerTransport,
)
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["RefusedBatches"]

log = logging.getLogger("eventzr_kafka.producer")

_CLOSED = DeliveryFailure("_DESTROY", "the producer was closed before the event was sent again", unknown=False)
_MAX_WAITING = 100_000  # events of a topic; the client's own queue takes as many

Entry: TypeAlias = tuple[OutgoingRecord, DeliveryCallback]


class _Episode:
    """The state of one topic, from a refused batch until all of its events are sent again.

    Attributes:
        refused, later: Refused events, and the events that wait behind them.
        in_flight: Events that the second client has not reported yet.
        sent_again: The number of events that the second client was given.
        overtaking: Offsets at which the first client stored later events of the refused events' keys.
    """

    def __init__(self) -> None:
        self.refused: deque[Entry] = deque()
        self.later: deque[Entry] = deque()
        self.in_flight = 0
        self.sent_again = 0
        self.keys: set[bytes | None] = set()
        self.overtaking: dict[TopicPartition, list[int]] = {}

    @property
    def count(self) -> int:
        return len(self.refused) + len(self.later) + self.in_flight


class RefusedBatches:
    """The refused events of one producer. Its methods may be called from any thread.

    Attributes:
        episodes: By topic; empty until a batch is refused.
    """

    def __init__(self, make_client: Callable[[], ProducerTransport], batch_bytes: int) -> None:
        """Begin without refused events.

        Args:
            make_client: Makes the client that sends every event in a batch of its own.
            batch_bytes: The largest batch, for log lines.
        """
        self.episodes: dict[str, _Episode] = {}
        self._make_client = make_client
        self._batch_bytes = batch_bytes
        self._client: ProducerTransport | None = None
        self._outcomes: deque[tuple[_Episode, DeliveryCallback, DeliveryOutcome]] = deque()
        self._lock = threading.RLock()

    @property
    def count(self) -> int:
        """The number of events without an outcome."""
        with self._lock:
            return sum(episode.count for episode in self.episodes.values())

    def take(self, record: OutgoingRecord, report: DeliveryCallback, failure: DeliveryFailure) -> None:
        """Add an event of a refused batch."""
        with self._lock:
            episode = self.episodes.get(record.topic)
            if episode is None:
                episode = self.episodes[record.topic] = _Episode()
                log.warning(
                    "%s: the broker refused a batch (%s): its events are sent again one by one, and later ones wait; "
                    "set KAFKA_BATCH_BYTES (now %s) to less than the max.message.bytes of every topic",
                    printable(record.topic, limit=249),
                    failure.reason,
                    f"{self._batch_bytes:,}",
                )
            episode.refused.append((record, report))
            episode.keys.add(record.key)

    def wait(self, record: OutgoingRecord, report: DeliveryCallback) -> bool | None:
        """Let a new event wait behind the refused ones; None if its topic has none, False if too many wait."""
        with self._lock:
            episode = self.episodes.get(record.topic)
            if episode is None:
                return None
            if len(episode.later) >= _MAX_WAITING:
                return False
            episode.later.append((record, report))
            return True

    def note_stored(self, topic: str, key: bytes | None, partition: int, offset: int) -> None:
        """Note an event that the first client has stored meanwhile."""
        with self._lock:
            episode = self.episodes.get(topic)
            if episode is not None and key in episode.keys:
                episode.overtaking.setdefault(TopicPartition(topic, partition), []).append(offset)

    def advance(self, busy: Callable[[], set[str]]) -> None:
        """Pass outcomes on, and send the events of topics that the first client has finished.

        Args:
            busy: Returns the topics of which the first client still has events in flight.
        """
        if not self.episodes:
            return
        with self._lock:
            self._pass_outcomes_on()
            held = busy()
            for topic, episode in list(self.episodes.items()):
                if topic not in held:
                    self._send(episode)
                    if not episode.count:
                        del self.episodes[topic]
                        _log_the_end(topic, episode)

    def flush(self, seconds: float) -> None:
        """Wait for the outcomes of the second client's events, and pass them on."""
        client = self._client  # another thread may close the client
        if client is not None:
            client.flush(seconds)
        with self._lock:
            self._pass_outcomes_on()

    def close(self) -> None:
        """End the second client; events without an outcome are reported as failed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        with self._lock:
            self._pass_outcomes_on()
            for episode in self.episodes.values():
                _fail((*episode.refused, *episode.later), _CLOSED)
            self.episodes.clear()

    def _send(self, episode: _Episode) -> None:
        try:
            client = self._client = self._client or self._start_client()
        except Exception as error:  # noqa: BLE001 -- for example a failed login; the waiting events get it as their outcome
            _fail(
                _take_all(episode),
                DeliveryFailure("_STATE", f"it could not be sent again: {error_location(error)}", unknown=False),
            )
            return
        for queue in (episode.refused, episode.later):
            while queue:
                record, report = queue[0]
                if not client.produce(record, partial(self._on_outcome, episode, report)):
                    return
                episode.in_flight += 1
                episode.sent_again += 1
                queue.popleft()

    def _start_client(self) -> ProducerTransport:
        client = self._make_client()
        client.start(_ignore_reports)
        return client

    def _on_outcome(self, episode: _Episode, report: DeliveryCallback, outcome: DeliveryOutcome) -> None:
        """Keep an outcome of the second client for the thread that serves the first one."""
        self._outcomes.append((episode, report, outcome))

    def _pass_outcomes_on(self) -> None:
        while self._outcomes:
            episode, report, outcome = self._outcomes.popleft()
            episode.in_flight -= 1
            report(outcome)


def _take_all(episode: _Episode) -> list[Entry]:
    entries = [*episode.refused, *episode.later]
    episode.refused.clear()
    episode.later.clear()
    return entries


def _fail(entries: Iterable[Entry], failure: DeliveryFailure) -> None:
    for _, report in entries:
        report(failure)


def _log_the_end(topic: str, episode: _Episode) -> None:
    places = ", ".join(describe_offsets(*found) for found in sorted(episode.overtaking.items()))
    overtaken = f"later events of the same keys are stored before them: {places}" if places else "none was overtaken"
    log.warning(
        "%s: %d events were sent again one by one; %s", printable(topic, limit=249), episode.sent_again, overtaken
    )


def _ignore_reports() -> None:
    """Do nothing: outcomes are passed on one by one."""
