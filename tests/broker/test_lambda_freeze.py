"""A container that freezes while it publishes: all is acknowledged or named in the error, and nothing is sent later."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from typing import IO, TYPE_CHECKING, Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from eventzr_kafka.testing.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable

FROZEN: Final = 30.0  # seconds
COUNT: Final = 2000

FUNCTION: Final = """
import json, sys, time
from eventzr_kafka import CloudEvent, KafkaSettings
from eventzr_kafka.aws_lambda import UnacknowledgedError, LambdaProducer

topic, brokers = sys.argv[1:]
producer = LambdaProducer(settings=KafkaSettings(brokers=brokers, librdkafka={"linger.ms": 300}))

class Context:
    def __init__(self):
        self.ends = time.time() + 5
    def get_remaining_time_in_millis(self):
        return int(1000 * (self.ends - time.time()))

@producer.flushed
def handler(event, context):
    deliveries.clear()
    for number in event["numbers"]:
        if number == event["pause"]:
            print(json.dumps("half"), flush=True)
            while context.get_remaining_time_in_millis() > 0:  # the freeze comes here
                pass
        deliveries.append(producer.enqueue(
            CloudEvent(id=f"e{number}", source="s", type=topic, tenantid="t1", data=number)))

deliveries = []
for line in sys.stdin:
    lost = []
    try:
        handler(json.loads(line), Context())
    except UnacknowledgedError as error:
        lost = [event_id for event_id, _ in error.events]
    acknowledged = [d.event_id for d in deliveries if d.done() and d.event_id not in lost]
    print(json.dumps({"acknowledged": acknowledged, "lost": lost}), flush=True)
"""


@contextlib.contextmanager
def function(kafka: KafkaServer, topic: str) -> Generator[tuple[int, Callable[..., None], Callable[[], Any]]]:
    """A process that stands for a container: its id, what invokes it, and what reads its next answer."""
    command = [sys.executable, "-c", FUNCTION, topic, kafka.bootstrap_servers]
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "f", "KAFKA_ENABLED": "true"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    to, back = _pipes(process)

    def invoke(numbers: range, pause: int = -1) -> None:
        to.write(json.dumps({"numbers": list(numbers), "pause": pause}) + "\n")
        to.flush()

    try:
        yield process.pid, invoke, lambda: json.loads(back.readline())
    finally:
        process.kill()
        process.wait(10)
        to.close()
        back.close()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def ids_in(kafka: KafkaServer, topic: str) -> list[str]:
    """The ids of all events of a topic, once nothing comes any more."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    found: list[str] = []
    with contextlib.closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while messages := consumer.consume(1000, timeout=1.0 if found else 10.0):
            found += [json.loads(message.value() or b"{}")["id"] for message in messages]
    return found


def test_events_interrupted_by_a_freeze_are_never_sent_later(kafka: KafkaServer, topic: Callable[..., str]) -> None:
    name = topic(partitions=1)
    with function(kafka, name) as (pid, invoke, answer):
        invoke(range(COUNT), pause=COUNT // 2)
        assert answer() == "half"
        os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN)  # the freeze itself
        os.kill(pid, signal.SIGCONT)
        told = answer()
        written = ids_in(kafka, name)
        invoke(range(COUNT, COUNT + 1))
        later = answer()
    everything = {f"e{number}" for number in range(COUNT)}
    assert set(told["acknowledged"]) | set(told["lost"]) == everything
    assert told["lost"], "the freeze interrupted nothing"
    assert set(told["acknowledged"]) <= set(written) <= everything
    assert later == {"acknowledged": [f"e{COUNT}"], "lost": []}
    assert ids_in(kafka, name) == [*written, f"e{COUNT}"]
