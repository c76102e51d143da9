"""A member of a consumer group on librdkafka, as the event loop sees it.

Requests go to the owner thread through a `Mailbox`, and what it fetches comes back through `Arrivals`: one hop a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from eventzr_kafka._confluent.arrivals import Arrivals, log
from eventzr_kafka._confluent.client_owner import own_client
from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka._confluent.config import admin_config, consumer_config
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka._confluent.member import Member
from eventzr_kafka._confluent.oauth import token_callback
from eventzr_kafka._confluent.outage import Outage
from eventzr_kafka._confluent.topic_ids import TopicIds
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.transport import ConsumerSink, Paused, Position
from eventzr_kafka.lifecycle.process import forget_open, note_open
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentConsumer"]

_BATCH = 2000  # records of one hop, at most
_READ_BATCH = 500  # the same where the event loop reads all of them at once, to know their subjects


class ConfluentConsumer:
    """A `ConsumerTransport`."""

    def __init__(self, settings: KafkaSettings, group_id: str, options: ConsumerOptions) -> None:
        """Take the configuration; nothing connects before `start`."""
        self._config = consumer_config(settings, group_id, options.group_protocol)
        self._admin_config = admin_config(settings)
        self._group_id = group_id
        self._options = options
        self._outage = Outage(log, group_id, settings.brokers, token_callback(self._config))
        self._commits = CommitResults(group_id)
        self._mailbox = Mailbox()
        self._thread: threading.Thread | None = None

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group from a thread of its own."""
        batch = _READ_BATCH if self._options.ordering == "subject" else _BATCH
        ids = TopicIds(self._admin_config, topics)
        stops = self._options.on_offset_lost == "stop"
        member = Member(self._group_id, tuple(topics), self._config, batch, self._options.drain_timeout, ids, stops)
        loop, protocol = asyncio.get_running_loop(), self._options.group_protocol
        arrivals = Arrivals(self._group_id, protocol, sink, self._mailbox, self._outage, loop)
        self._thread = threading.Thread(
            target=own_client,
            args=(member, self._mailbox, arrivals, self._outage, self._commits),
            name=f"eventzr-kafka {self._group_id}",
            daemon=True,  # a client that hangs while it closes does not hold the process
        )
        self._thread.start()
        note_open(self)

    def store(self, positions: Sequence[Position]) -> None:
        """Leave positions for the owner to store."""
        self._mailbox.store(positions)

    def request_batch(self) -> None:
        """Let the owner bring one more list of batches."""
        self._mailbox.request_batch()

    def pause(self, epochs: Paused) -> None:
        """Have the owner stop the intake of these, and start that of the others."""
        self._mailbox.pause(epochs)

    @property
    def problem(self) -> str | None:
        """Why offsets cannot be committed at the moment, or None."""
        return self._commits.problem

    async def close(self, timeout: float) -> bool:
        """Have the owner commit and leave."""
        self._mailbox.close()
        loop, thread = asyncio.get_running_loop(), self._thread
        if thread is None:
            return True
        deadline = loop.time() + timeout
        while thread.is_alive() and loop.time() < deadline:  # noqa: ASYNC110 -- a thread's end sets no asyncio.Event
            await asyncio.sleep(0.01)
        forget_open(self)
        return not thread.is_alive()

    def end_at_exit(self, deadline: float) -> None:
        """Leave the group, if the process ends before the runner was stopped."""
        if self._thread is None or not self._thread.is_alive():
            return
        if not self._mailbox.closing:
            text = "%s: the process ends without stop(): leaving the group; events in hand are redelivered"
            log.warning(text, self._group_id)
            self._mailbox.close()
        self._thread.join(max(deadline - time.monotonic(), 0.0))
