"""A poll loop of confluent-kafka that decodes each event and notes its age."""

from confluent_kafka import Consumer

from benchmarks.contestants.events import read_event
from benchmarks.contestants.kit import TOPIC, LatencyMeter, consumer_config, task

TASK = task()
done: list[bool] = []
AGES = LatencyMeter(TASK, lambda: done.append(True))

client = Consumer(consumer_config(TASK))
client.subscribe([TOPIC])
while not done:
    message = client.poll(0.1)
    value = None if message is None or message.error() else message.value()
    if value is not None:
        AGES.take(read_event(value).id)
client.close()
