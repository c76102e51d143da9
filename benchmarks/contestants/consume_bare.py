"""A loop of confluent-kafka that only decodes each event."""

from confluent_kafka import Consumer

from benchmarks.contestants.events import reader
from benchmarks.contestants.kit import TOPIC, Meter, consumer_config, task

TASK = task()
READ = reader(TASK.kind)
done: list[bool] = []
METER = Meter(TASK, lambda: done.append(True))


def consume(consumer: Consumer) -> None:
    """Read batches until the meter has enough."""
    while not done:
        messages = consumer.consume(2000, 0)
        if not messages:
            first = consumer.poll(0.1)
            messages = [first] if first is not None else []
        if messages and METER.mark == 1:
            METER.look()
        for message in messages:
            READ(message)
        METER.count += len(messages)
        if METER.count >= METER.mark > 1:
            METER.look()


client = Consumer(consumer_config(TASK))
client.subscribe([TOPIC])
consume(client)
client.close()
