"""The command as a process of its own, on the embedded broker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventzr_kafka import EmbeddedBroker, KafkaSettings, embedded_broker
from eventzr_kafka._confluent.log_reader import ConfluentLogReader

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOPIC = "eventzr.marketplace.listing.created.v1"
HANDLERS = f"""
import time
from eventzr_kafka import CloudEvent, Reject, RetryPolicy, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated

STOP = RetryPolicy(attempts=1, on_exhausted="stop")

@kafka_consumer(group_id="listener")
class Listener:
    @on_message(ListingCreated)
    async def hear(self, event: CloudEvent[ListingCreated]) -> None:
        print(f"heard {{event.data.title}} of {{event.tenantid}}")

@kafka_consumer(group_id="failing", group_protocol="consumer", retry=STOP)
class Failing:
    @on_message("{TOPIC}")
    async def fail(self, event: CloudEvent[ListingCreated]) -> None:
        raise ValueError(f"cannot take {{event.data.title}}")

@kafka_consumer(group_id="rejecting")
class Rejecting:
    @on_message(ListingCreated)
    async def reject(self, event: CloudEvent[ListingCreated]) -> None:
        raise Reject("not this one")

@kafka_consumer(group_id="hanging", group_protocol="consumer")
class Hanging:
    @on_message(ListingCreated)
    def hang(self, event: CloudEvent[ListingCreated]) -> None:
        print("hangs")
        time.sleep(900)

@kafka_consumer(group_id="impatient", group_protocol="consumer", drain_timeout=0.2)
class Impatient(Hanging): ...
"""


class Command:
    """A running command; its output is read as it comes."""

    def __init__(self, arguments: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            [BIN / "eventzr-kafka", *arguments],
            cwd=cwd,
            env=env,
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

    def wait_for(self, text: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.output}"
            assert self._process.poll() is None or text in self.output, f"ended without {text!r}:\n{self.output}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, timeout: float = 60) -> int:
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.exit_code()
        assert self._process.stdout is not None
        self._process.stdout.close()


Start = Callable[..., Command]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with embedded_broker() as broker:
        broker.create_topics(TOPIC)
        yield broker


@pytest.fixture
def env(broker: EmbeddedBroker) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "PYTHONUNBUF"))}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", "KAFKA_BROKERS": broker.bootstrap_servers}


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start the command in a directory that holds handlers.py; ended at the latest with the test."""
    started: list[Command] = []
    (tmp_path / "handlers.py").write_text(HANDLERS)

    def start(*arguments: str, **variables: str) -> Command:
        started.append(Command(list(arguments), tmp_path, {**env, **variables}))
        return started[-1]

    yield start
    for command in started:
        command.close()


def publish(start: Start, *arguments: str) -> str:
    command = start("publish", TOPIC, *arguments)
    assert command.exit_code() == 0, command.output
    return command.output


def test_run_shows_card_handles_and_ends_on_sigterm(start: Start, broker: EmbeddedBroker) -> None:
    publish(start, "--tenant", "early")
    run = start("run", "handlers:Listener")
    run.wait_for("heard Premium Catering Service of early")

    published = publish(start, "--tenant", "t1", "--data", json.dumps(listing("Späte Halle")), "--id", "e-1")
    run.wait_for("heard Späte Halle of t1")
    run.signal(signal.SIGTERM)

    assert run.exit_code() == 0
    lines = run.output.splitlines()
    assert lines[1:5] == [
        f"  broker  {broker.bootstrap_servers} (no TLS, no login)",
        "  group   listener",
        f"          {TOPIC} -> Listener.hear(ListingCreated)",
        f"connecting to {broker.bootstrap_servers}",
    ]
    assert lines.index("ready: 4 partitions of 1 topic") < lines.index("heard Premium Catering Service of early")
    assert lines[-2:] == ["stopping: running handlers finish first (a second signal quits at once)", "stopped"]
    assert re.fullmatch(
        rf"published {TOPIC}\[\d\]@\d+ on {broker.bootstrap_servers}\n  tenant t1, subject listing:l-1, event e-1\n",
        published,
    )


def listing(title: str) -> dict[str, object]:
    return {"id": "l-1", "title": title, "lane": "vendora", "sellerId": "s-1", "price": 250.5, "currency": "EUR"}


def test_failing_handler_exits_with_1_and_names_record(start: Start) -> None:
    publish(start, "--tenant", "t1")

    run = start("run", "handlers:Failing")

    assert run.exit_code() == 1
    block = run.output[run.output.index("error: ") :].splitlines()
    assert block[0] == "error: an event stopped the consumer"
    assert re.match(rf"  {TOPIC}\[\d\]@0, event \S+: Failing\.fail: raised ValueError at .*handlers\.py:18$", block[1])
    assert run.output.count("Failing.fail:") == 1
    assert "Premium" not in run.output
    assert "Traceback" not in run.output


def test_run_with_json_logs_json_lines(start: Start) -> None:
    publish(start, "--tenant", "t1")

    run = start("run", "handlers:Failing", "--log-format", "json", "--traceback")

    assert run.exit_code() == 1
    lines = [json.loads(line) for line in run.output.splitlines()]
    assert [line["message"] for line in lines if line["message"].startswith("ready")] == [
        "ready: 4 partitions of 1 topic"
    ]
    assert lines[-1]["exception"].splitlines()[-1] == "ValueError: cannot take Premium Catering Service"


def test_second_interrupt_quits_at_once(start: Start) -> None:
    publish(start, "--tenant", "t1")
    run = start("run", "handlers:Hanging")
    run.wait_for("hangs\n")

    run.signal(signal.SIGINT)
    run.wait_for("stopping")
    run.signal(signal.SIGINT)

    assert run.exit_code(timeout=60) == 130
    assert "Traceback" not in run.output


def test_hanging_thread_ends_with_drain_timeout(start: Start) -> None:
    publish(start, "--tenant", "t1")
    run = start("run", "handlers:Impatient")
    run.wait_for("hangs\n")

    run.signal(signal.SIGTERM)

    assert run.exit_code(timeout=60) == 0


def test_run_says_when_broker_is_down(start: Start) -> None:
    run = start("run", "handlers:Listener", KAFKA_BROKERS="127.0.0.1:9")
    run.wait_for("no connection to 127.0.0.1:9")
    time.sleep(1.5)  # the client tries again meanwhile

    run.signal(signal.SIGTERM)

    assert run.exit_code() == 0
    lines = run.output.splitlines()
    assert lines[4] == "connecting to 127.0.0.1:9"
    assert "event loop: " in lines[5]
    assert "no connection to 127.0.0.1:9" in lines[6]
    assert lines[7:] == ["stopping: running handlers finish first (a second signal quits at once)", "stopped"]


def test_publish_times_out_without_a_broker(start: Start) -> None:
    command = start("publish", TOPIC, "--tenant", "t1", "--id", "e-1", "--timeout", "1s", KAFKA_BROKERS="127.0.0.1:9")

    assert command.exit_code() == 1
    assert command.output.splitlines()[-1].startswith(f"error: event e-1 for {TOPIC}: _MSG_TIMED_OUT")
    assert command.output.count("e-1") == 1


def test_line_of_dev_publishes_elsewhere(
    start: Start, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    dev = start("dev", "handlers:Listener", KAFKA_AUTH="scram", KAFKA_EVENT_LOOP="asyncio")
    dev.wait_for("ready: 4 partitions of 1 topic")
    dev.wait_for("--tenant t1\n")

    (line,) = re.findall(r"^  (KAFKA_BROKERS=.*)$", dev.output, re.MULTILINE)
    other = {name: value for name, value in env.items() if name != "KAFKA_BROKERS"} | {"KAFKA_AUTH": "scram"}
    done = subprocess.run(
        ["sh", "-c", line], cwd=elsewhere, env=other, capture_output=True, text=True, timeout=240, check=False
    )
    dev.wait_for("heard Premium Catering Service of t1")
    dev.signal(signal.SIGINT)

    assert done.returncode == 0, done.stderr
    assert dev.exit_code() == 0
    assert "does not exist" not in dev.output
    assert "event loop: asyncio" in dev.output


def test_dev_has_the_dead_letter_topic(start: Start) -> None:
    dev = start("dev", "handlers:Rejecting")
    dev.wait_for("--tenant t1\n")
    (address,) = re.findall(r"^connecting to (.*)$", dev.output, re.MULTILINE)
    before_any_letter = AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).topics
    reader = ConfluentLogReader(KafkaSettings(brokers=address), "rejecting")

    assert start("publish", TOPIC, "--tenant", "t1", KAFKA_BROKERS=address).exit_code() == 0
    dev.wait_for("to the dead letters")

    deadline = time.monotonic() + 60  # ends what hangs
    while not list(reader.read("rejecting.dlq") or ()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline
    assert "rejecting.dlq" in before_any_letter
    dev.signal(signal.SIGTERM)
    assert dev.exit_code() == 0


def run_python(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def test_demo_plays_a_day_and_all_18_topics_flow(env: dict[str, str]) -> None:
    done = run_python("-m", "examples.demo", env=env)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 18 topics flowed for 2 tenants: 59 events, each exactly once." in done.stdout
    assert "tenant-b  | after the delivery the payout is complete: 4650.75 USD" in done.stdout
    assert "tenant-b  | then it is cancelled: 4650.75 of 4650.75 are refunded" in done.stdout
    assert done.stdout.count("New listing in lane vendora") == 5
    assert done.stdout.count("completed for tenant-") == 2
    assert re.search(r"^The page: http://127\.0\.0\.1:\d+/ ", done.stdout, re.MULTILINE)


def test_lost_event_fails_the_demo(env: dict[str, str]) -> None:
    lose_one = (
        "import asyncio, sys; from examples import demo; from examples.subscriber.counter import EventCounter as C;"
        "count = C._count; demo.TIMEOUT = 5;"
        "C._count = lambda self, e: e.type.endswith('broadcast.v1') and e.tenantid == 'tenant-b' or count(self, e);"
        "sys.exit(not asyncio.run(demo.main()))"
    )

    done = run_python("-c", lose_one, env=env)

    assert done.returncode == 1, done.stdout + done.stderr
    lost = "eventzr.marketplace.rfp.broadcast.v1 for tenant-b"
    assert f"FAILED: without an event: {lost}\nlost or duplicated: {lost}: " in done.stdout
