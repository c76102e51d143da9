"""`eventzr-kafka run --workers N` on a real Kafka: shared partitions, workers and supervisors that are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, TopicPartition
from confluent_kafka.admin import AdminClient

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
PARTITIONS: Final = 6
HANDLERS: Final = """
import asyncio, os
from typing import Any
from eventzr_kafka import CloudEvent, KafkaSettings, RetryPolicy, kafka_consumer, on_message

STOP = RetryPolicy(attempts=1, on_exhausted="stop")
QUICK = {{"heartbeat.interval.ms": 200, "session.timeout.ms": 2000}}
BROKERS = os.environ["KAFKA_BROKERS"]
KafkaSettings.from_env = staticmethod(lambda: KafkaSettings(brokers=BROKERS, librdkafka=QUICK))

@kafka_consumer(group_id="{group}", drain_timeout=5.0, retry=STOP)
class Worker:
    @on_message("{topic}")
    async def handle(self, event: CloudEvent[Any]) -> None:
        print(f"{{os.getpid()}} begins {{event.data}}")
        await asyncio.sleep({takes})
        print(f"{{os.getpid()}} handled {{event.data}}")
        if event.data == "poison":
            raise ValueError
"""


class Workers:
    """A running command with two workers; what it says is read as it comes."""

    def __init__(self, directory: Path, brokers: str) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("eventzr-kafka"), "run", "handlers:Worker", "--workers", "2"],
            cwd=directory,
            env={**os.environ, "KAFKA_BROKERS": brokers},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line

    def wait_for(self, holds: Callable[[], object], *, timeout: float = SECONDS) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: f"ready: 2 workers, {PARTITIONS} partitions of 1 topic\n" in self.output)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def started(self) -> list[int]:
        """Process ids of the workers, in the order of their start."""
        return [int(found) for found in re.findall(r"worker-\d started as process (\d+)", self.output)]

    def handled(self) -> Counter[str]:
        return Counter(re.findall(r"^\d+ handled (\w+)$", self.output, re.MULTILINE))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.exit_code()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Setting:
    """A topic and a group of one test, and the command that consumes them."""

    def __init__(self, brokers: str, topic: str, directory: Path) -> None:
        self.settings = KafkaSettings(brokers=brokers)
        self.group = f"group.{uuid.uuid4().hex[:8]}"
        self._topic = topic
        self._directory = directory
        self._started: list[Workers] = []

    def start(self, *, takes: float = 0.0) -> Workers:
        text = HANDLERS.format(group=self.group, topic=self._topic, takes=takes)
        (self._directory / "handlers.py").write_text(text)
        self._started.append(Workers(self._directory, self.settings.brokers))
        return self._started[-1]

    def publish(self, *data: object) -> None:
        with EventProducer(settings=self.settings) as producer:
            for number, each in enumerate(data):
                tenant = f"t{number % 50}"
                producer.enqueue(CloudEvent(id=f"e{each}", source="test", type=self._topic, tenantid=tenant, data=each))

    def committed(self) -> int:
        """Records that the group has committed."""
        partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        client = Consumer({"bootstrap.servers": self.settings.brokers, "group.id": self.group})
        with contextlib.closing(client):
            return sum(max(each.offset, 0) for each in client.committed(partitions, timeout=SECONDS))

    def shares(self) -> list[int]:
        """How many partitions each member has; nothing while the group is being rebalanced."""
        admin: Any = AdminClient({"bootstrap.servers": self.settings.brokers})
        group = admin.describe_consumer_groups([self.group])[self.group].result(SECONDS)
        stable = group.state == ConsumerGroupState.STABLE
        return sorted(len(each.assignment.topic_partitions) for each in group.members) if stable else []

    def close(self) -> None:
        for workers in self._started:
            workers.close()


@pytest.fixture
def setting(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path) -> Iterator[Setting]:
    setting = Setting(kafka.bootstrap_servers, topic(partitions=PARTITIONS), tmp_path)
    yield setting
    setting.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_workers_handle_each_event_once(setting: Setting) -> None:
    workers = setting.start()
    workers.wait_until_ready()

    setting.publish(*range(200))
    workers.wait_for(lambda: workers.handled().total() >= 200)
    workers.signal(signal.SIGTERM)

    assert workers.exit_code() == 0
    assert workers.handled() == Counter(map(str, range(200)))
    assert {int(line.split()[0]) for line in workers.output.splitlines() if " handled " in line} == {*workers.started()}
    assert setting.committed() == 200
    lines = workers.output.splitlines()
    assert lines[2] == f"  group   {setting.group} (2 workers)"
    assert lines[-1] == "stopped"
    assert sum(" eventzr_kafka.cli: event loop: " in line for line in lines) == 2  # one for each worker
    for said in ("connecting to", "ready: ", "stopping: "):
        assert sum(line.startswith(said) for line in lines) == 1


def test_killed_worker_comes_back(setting: Setting) -> None:
    workers = setting.start()
    workers.wait_until_ready()

    os.kill(workers.started()[0], signal.SIGKILL)
    setting.publish(*range(200))
    workers.wait_for(lambda: len(workers.handled()) == 200)
    workers.wait_for(lambda: len(workers.started()) == 3)
    workers.wait_for(lambda: setting.shares() == [PARTITIONS / 2] * 2)  # what is finished amid a rebalance comes again
    workers.signal(signal.SIGTERM)

    assert workers.exit_code() == 0
    assert re.search(
        r"WARNING supervisor \S+ worker-\d was killed by SIGKILL; it is started again in 1\.\d s", workers.output
    )
    assert setting.committed() == 200


@pytest.mark.parametrize("everybody", [False, True], ids=["supervisor", "everybody"])
def test_stop_lets_handlers_finish(setting: Setting, *, everybody: bool) -> None:
    workers = setting.start(takes=2.0)
    workers.wait_until_ready()
    setting.publish(*range(20))
    workers.wait_for(lambda: workers.output.count(" begins ") == 20)

    for pid in workers.started() if everybody else []:  # as systemd does
        os.kill(pid, signal.SIGTERM)
    workers.signal(signal.SIGINT)

    assert workers.exit_code() == 0
    assert workers.handled().total() == 20
    assert setting.committed() == 20


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_second_signal_quits_at_once(setting: Setting, number: signal.Signals, code: int) -> None:
    workers = setting.start(takes=60.0)
    workers.wait_until_ready()
    setting.publish(*range(20))
    workers.wait_for(lambda: workers.output.count(" begins ") == 20)

    workers.signal(number)
    workers.wait_for(lambda: "stopping: " in workers.output)
    workers.signal(number)

    assert workers.exit_code() == code
    assert not any(map(is_alive, workers.started()))
    assert workers.handled().total() == 0


def test_workers_end_without_their_supervisor(setting: Setting) -> None:
    workers = setting.start(takes=2.0)
    workers.wait_until_ready()
    setting.publish(*range(20))
    workers.wait_for(lambda: workers.output.count(" begins ") == 20)

    workers.signal(signal.SIGKILL)

    workers.wait_for(lambda: not any(map(is_alive, workers.started())))
    assert workers.exit_code() == -signal.SIGKILL
    assert setting.committed() == 20


def test_unhandled_event_ends_command_with_1(setting: Setting) -> None:
    workers = setting.start()
    workers.wait_until_ready()

    setting.publish("poison")

    workers.wait_for(lambda: "for the 5th time in short order: stopping all workers" in workers.output, timeout=90)
    assert workers.exit_code() == 1
    assert re.search(r"^worker-\d error: an event stopped the consumer$", workers.output, re.MULTILINE)
    assert setting.committed() == 0
