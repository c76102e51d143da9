"""A member of a consumer group on librdkafka, as the event loop sees it.

Requests go to the owner thread through a `Mailbox`; its messages come back through `Arrivals`, one call for each batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from eventzr_kafka._confluent.arrivals import Arrivals, log
from eventzr_kafka._confluent.client_owner import ClientOwner
from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka._confluent.config import admin_config, consumer_config
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka._confluent.member import Member
from eventzr_kafka._confluent.oauth import token_callback
from eventzr_kafka._confluent.topic_ids import TopicIds
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.transport import ConsumerSink, Paused, Position
from eventzr_kafka.lifecycle.process import forget_open, note_open
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentConsumer"]

_MAX_BATCH = 2000  # messages that go to the event loop at once
_MAX_DECODED_BATCH = 500  # the same if the event loop decodes all of them at once, to know their subjects


class ConfluentConsumer:
    """A `ConsumerTransport`."""

    def __init__(
        self, settings: KafkaSettings, group_id: str, options: ConsumerOptions, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Check the configuration; nothing connects before `start`."""
        self._config = consumer_config(settings, group_id, options.group_protocol)
        self._admin_config = admin_config(settings)
        self._group_id = group_id
        self._options = options
        self._clock = clock
        login = token_callback(self._config)
        self._connection = ConnectionMonitor(log, group_id, settings, login, clock=clock)
        self._commits = CommitResults(group_id, clock)
        self._mailbox = Mailbox()
        self._thread: threading.Thread | None = None

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group, in a thread of its own."""
        batch = _MAX_DECODED_BATCH if self._options.ordering == "subject" else _MAX_BATCH
        ids = TopicIds(self._admin_config, topics)
        stops = self._options.on_offset_lost == "stop"
        member = Member(
            self._group_id, tuple(topics), self._config, batch, self._options.drain_timeout, ids, stops, self._clock
        )
        loop, protocol = asyncio.get_running_loop(), self._options.group_protocol
        arrivals = Arrivals(self._group_id, protocol, sink, self._mailbox, self._connection, loop)
        self._thread = threading.Thread(
            target=_run_owner,
            args=(member, self._mailbox, arrivals, self._connection, self._commits),
            name=f"eventzr-kafka {self._group_id}",
            daemon=True,  # a client that hangs while it closes does not keep the process alive
        )
        self._thread.start()
        note_open(self)

    def store(self, positions: Sequence[Position]) -> None:
        """Ask the owner to store positions."""
        self._mailbox.store(positions)

    def request_batch(self) -> None:
        """Ask the owner for one more list of batches."""
        self._mailbox.request_batch()

    def pause(self, epochs: Paused) -> None:
        """Ask the owner to pause these epochs and to read all others."""
        self._mailbox.pause(epochs)

    @property
    def problem(self) -> str | None:
        """The reason why offsets cannot be committed now; None if they can."""
        return self._commits.problem

    async def close(self, timeout: float) -> bool:
        """Ask the owner to commit and leave, and wait for it."""
        self._mailbox.close()
        loop, thread = asyncio.get_running_loop(), self._thread
        if thread is None:
            return True
        deadline = loop.time() + timeout
        while thread.is_alive() and loop.time() < deadline:
            await self._clock.sleep(0.01)
        forget_open(self)
        return not thread.is_alive()

    def end_at_exit(self, deadline: float) -> None:
        """Leave the group when the process ends and the runner was not stopped."""
        if self._thread is None or not self._thread.is_alive():
            return
        if not self._mailbox.closing:
            text = "%s: the process ends without stop(): leaving the group; events in flight are redelivered"
            log.warning(text, self._group_id)
            self._mailbox.close()
        self._thread.join(max(deadline - self._clock.monotonic(), 0.0))


def _run_owner(
    member: Member, mailbox: Mailbox, arrivals: Arrivals, connection: ConnectionMonitor, commits: CommitResults
) -> None:
    """Join the group, fetch until the mailbox is closed, and leave; runs in the owner thread."""
    try:
        owner = ClientOwner(member, mailbox, arrivals, connection, commits)
    except Exception as error:  # noqa: BLE001 -- the runner reports every error
        member.topic_ids.end()
        arrivals.notify(arrivals.client_failed, error)
        return
    for step in (owner.run, owner.leave):  # leaving also after a fault, so that the group need not wait for a session
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- as above; the runner keeps the first one
            arrivals.notify(arrivals.client_failed, error)
