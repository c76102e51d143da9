"""A process that ends in an unusual way: ``python ending_process.py WAY BROKERS TOPIC GROUP``.

It prints a word when it is where the test wants it, and the last one when its own code has ended.
"""

import asyncio
import sys
import time
from typing import Any

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message

WAY, BROKERS, TOPIC, GROUP = sys.argv[1:]
SETTINGS = KafkaSettings(brokers=BROKERS, librdkafka={"session.timeout.ms": 45_000})


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def quick(group: str) -> object:
    @kafka_consumer(group_id=group)
    class Quick:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    return Quick()


@kafka_consumer(group_id=GROUP, drain_timeout=0.5)
class Hanging:
    @on_message(TOPIC)
    def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
        say("in hand")
        time.sleep(3600)


async def run_two() -> None:
    runners = [ConsumerRunner(quick(f"{GROUP}-{name}"), settings=SETTINGS) for name in "ab"]
    running = asyncio.gather(*(runner.run() for runner in runners))
    await asyncio.gather(*(runner.ready() for runner in runners))
    say("ready")
    await running


async def join() -> ConsumerRunner:
    runner = ConsumerRunner(quick(GROUP), settings=SETTINGS)
    await runner.__aenter__()
    await runner.ready()
    return runner


def close_the_loop() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(join())
    loop.close()
    say("closed")
    sys.stdin.read()


def forget_the_consumer() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(join())


def forget_the_producer() -> None:
    settings = KafkaSettings(
        brokers=BROKERS, librdkafka={"linger.ms": 10_000}
    )  # so that the process ends before it sends
    producer = EventProducer(source="svc", settings=settings)
    producer.start()
    for number in range(100):
        event = CloudEvent(id=f"e{number}", source="svc", type=TOPIC, tenantid="t", data=number)
        producer.enqueue(event)


match WAY:
    case "two-runners":
        asyncio.run(run_two())
    case "hanging-def":
        asyncio.run(ConsumerRunner(Hanging(), settings=SETTINGS).run())
    case "closed-loop":
        close_the_loop()
    case "forgotten-consumer":
        forget_the_consumer()
    case _:
        forget_the_producer()
say("ended")
