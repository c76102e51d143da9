"""Members of version 0.1 and of this one in one group, on a real Kafka: docs/compatibility.md."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.conftest import TopicFactory
from tests.packaging.fresh import ROOT, install_alone, run
from tests.packaging.previous import VERSION_0_1, build_commit

from eventzr_kafka import CloudEvent, encode
from eventzr_kafka.engine.commit_metadata import ranges_of, read_metadata, write_metadata
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = [pytest.mark.compatibility, pytest.mark.timeout(900)]

HERE: Final = Path(__file__).parent
SECONDS: Final = 60
HELD: Final = 3  # of 20 events
OLD_READS: Final = """
import json, sys
from eventzr_kafka.commit_metadata import ranges_of, read_metadata, write_metadata
for line in sys.stdin:
    position, numbers, metadata = json.loads(line)
    print(json.dumps([sorted(read_metadata(position, metadata)), write_metadata(position, ranges_of(numbers), "id")]))
"""


@pytest.fixture(scope="module")
def version_0_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 0.1, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("version_0_1")
    return install_alone(folder / "installed", build_commit(VERSION_0_1, folder).engine)


class Member:
    """A process of `rolling_member.py`; its output is read as it comes."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.lines: list[str] = []
        command = [sys.executable, str(HERE / "rolling_member.py"), *arguments]
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.strip())

    @property
    def handled(self) -> list[int]:
        assert self._process.poll() in {None, 0}, "it has ended"
        return [int(line.split()[1]) for line in self.lines if line.startswith("handled")]

    @property
    def has_partitions(self) -> bool:
        return any(line.startswith("assigned") and line != "assigned 0" for line in self.lines)

    def stop(self) -> None:
        """End it as an orchestrator does, and see that it ends well."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(SECONDS) == 0
        self._reader.join(SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


Start = Callable[..., Member]


@pytest.fixture
def start(kafka: KafkaServer, version_0_1: Path) -> Iterator[Start]:
    members: list[Member] = []

    def start(version: str, topic: str, **variables: str) -> Member:
        env = {**os.environ, **variables}
        if version == "0.1":
            env["PYTHONPATH"] = str(version_0_1)
        members.append(Member([kafka.bootstrap_servers, topic, f"{topic}.group"], env))
        return members[-1]

    yield start
    for member in members:
        member.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def publish(kafka: KafkaServer, topic: str, tenants: list[str], first: int = 0) -> None:
    """One event for each of the tenants, numbered from `first`."""
    client = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for number, tenant in enumerate(tenants, first):
        event = CloudEvent(
            id=str(number), type=topic, source="test", tenantid=tenant, time=datetime.now(UTC), data={"n": number}
        )
        record = encode(event)
        client.produce(topic, record.value, record.key, headers=list(record.headers))
    assert client.flush(SECONDS) == 0


def committed(kafka: KafkaServer, topic: str) -> int:
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": f"{topic}.group"}
    with contextlib.closing(Consumer(settings)) as client:
        (found,) = client.committed([TopicPartition(topic, 0)], timeout=SECONDS)
    return found.offset


def test_versions_read_each_others_metadata(version_0_1: Path) -> None:
    chance = random.Random(1)  # noqa: S311 -- to be repeated
    sizes = [(0, 0), (0, 1), (7, 40), (10**9, 2400), (5, 4000)]
    cases = [(first, sorted(chance.sample(range(first + 1, first + 5000), count))) for first, count in sizes]
    lines = [json.dumps([p, numbers, write_metadata(p, ranges_of(numbers), "id")]) for p, numbers in cases]

    done = subprocess.run(
        [sys.executable, "-c", OLD_READS],
        env={**os.environ, "PYTHONPATH": str(version_0_1)},
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )

    for (position, numbers), line in zip(cases, done.stdout.splitlines(), strict=True):
        read, written = json.loads(line)
        assert read == sorted(read_metadata(position, write_metadata(position, ranges_of(numbers), "id")))
        assert read_metadata(position, written) == set(read)
        assert not numbers or read


@pytest.mark.parametrize(("first", "second"), [("0.1", "this"), ("this", "0.1")], ids=["update", "roll-back"])
def test_finished_offsets_survive_an_update(
    first: str, second: str, kafka: KafkaServer, topic: TopicFactory, start: Start
) -> None:
    name = topic(partitions=1)
    publish(kafka, name, ["held" if number == HELD else f"t{number}" for number in range(20)])

    before = start(first, name, HOLD="1")
    wait_until(lambda: len(before.handled) == 19)
    before.stop()
    assert committed(kafka, name) == HELD
    after = start(second, name)
    wait_until(lambda: HELD in after.handled)
    after.stop()

    assert after.handled == [HELD]
    assert committed(kafka, name) == 20


def test_two_versions_share_a_group(kafka: KafkaServer, topic: TopicFactory, start: Start) -> None:
    name = topic(partitions=6)
    old, new = start("0.1", name), start("this", name)
    wait_until(lambda: old.has_partitions and new.has_partitions)

    publish(kafka, name, [f"t{number % 40}" for number in range(200)])
    wait_until(lambda: len(old.handled) + len(new.handled) >= 200)
    old.stop()
    publish(kafka, name, [f"t{number % 40}" for number in range(100)], first=200)
    wait_until(lambda: len(old.handled) + len(new.handled) >= 300)
    new.stop()

    assert old.handled
    assert Counter(old.handled + new.handled) == Counter(range(300))


def test_old_member_runs_old_version(version_0_1: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(version_0_1)}
    code = "import eventzr_kafka.cli; from importlib.metadata import version; print(version('eventzr-kafka'))"
    assert run(sys.executable, "-c", code, cwd=ROOT, env=env) == "0.1.0\n"
