"""A member of a group, on the version that PYTHONPATH names: ``rolling_member.py BROKERS TOPIC GROUP``.

Prints ``assigned N`` for each assignment and ``handled NUMBER`` for each event. Events of the tenant ``held`` are never
finished where HOLD is set: the next member finds them open, and everything behind them finished.
"""

import asyncio
import dataclasses
import os
import sys
from typing import Any

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned

BROKERS, TOPIC, GROUP = sys.argv[1:]
HOLD = "HOLD" in os.environ


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@kafka_consumer(group_id=GROUP, drain_timeout=0.2)
class Member:
    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        if HOLD and event.tenantid == "held":
            await asyncio.Event().wait()
        say("handled", event.data["n"])


def assigned(fact: PartitionsAssigned) -> None:
    say("assigned", len(fact.partitions))


names = {field.name for field in dataclasses.fields(ConsumerHooks)}
hook = "on_partitions_assigned" if "on_partitions_assigned" in names else "assigned"  # the name in 0.1
hooks = ConsumerHooks(**{hook: assigned})  # type: ignore[arg-type]  # named by the version
asyncio.run(ConsumerRunner(Member(), settings=KafkaSettings(brokers=BROKERS), hooks=hooks).run())
