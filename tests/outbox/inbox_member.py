"""A member that books effects through the inbox: ``python inbox_member.py URL BROKERS TOPIC GROUP JOURNAL``.

The table of effects has no key: a second effect would be there. Each duplicate that was skipped is a line of the
journal.
"""

import asyncio
import os
import random
import sys
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, MessageContext, kafka_consumer, on_message
from eventzr_kafka.hooks import ConsumerHooks, DuplicateSkipped
from eventzr_kafka.inbox import SqlInbox

URL, BROKERS, TOPIC, GROUP, JOURNAL = sys.argv[1:]
CONCURRENCY = 16
FILE = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ENGINE = create_async_engine(URL, pool_size=CONCURRENCY)
BOOK = text("INSERT INTO effects (event_id) VALUES (:event_id)")


@kafka_consumer(group_id=GROUP, inbox=SqlInbox(async_sessionmaker(ENGINE)), max_concurrency=CONCURRENCY)
class Ledger:
    @on_message(TOPIC)
    async def book(self, event: CloudEvent[Any], context: MessageContext) -> None:
        await context.session.execute(BOOK, {"event_id": event.id})
        await asyncio.sleep(random.random() / 100)  # noqa: S311


def note(fact: DuplicateSkipped) -> None:
    os.write(FILE, f"{fact.partition} {fact.offset}\n".encode())


settings = KafkaSettings(brokers=BROKERS, librdkafka={"session.timeout.ms": 2000, "heartbeat.interval.ms": 300})
asyncio.run(ConsumerRunner(Ledger(), settings=settings, hooks=ConsumerHooks(on_duplicate_skipped=note)).run())
