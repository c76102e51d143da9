"""`eventzr-kafka dlq` on a real Kafka: letters are counted, shown, replayed, and discarded."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from tests.command_line import run_here
from tests.pty_call import COMMAND, CTRL_C, CTRL_D, python_on_a_terminal
from tests.waiting import wait_until

from eventzr_kafka import CloudEvent, KafkaSettings, OutgoingRecord, Record, encode
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.cli import dlq_claim
from eventzr_kafka.dead_letters.claim import write_claim
from eventzr_kafka.dead_letters.letter import Cut, DeadLetterFacts, Note, dead_letter_topic, read_note, write_letter

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
CARD: Final = "4111-1111"
TENANTS: Final = 10
HANDLERS: Final = """
import asyncio
from pathlib import Path
from typing import Any
from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_kafka.cli import dlq_claim
from eventzr_kafka.handlers.retry import RetryPolicy

dlq_claim.TIMES = dlq_claim.ClaimTimes(lifetime={lifetime}, renewal=0.5, check=2.0)

@kafka_consumer(group_id="{group}", retry=RetryPolicy(attempts=2, wait_initial=0.01), max_concurrency=4)
class Handler:
    @on_message("{topic}")
    async def handle(self, event: CloudEvent[Any]) -> None:
        with open("calls", "a") as calls:
            calls.write(f"{{event.tenantid}} {{event.data['n']}}\\n")
        while Path("hold").exists():
            await asyncio.sleep(0.02)
        await asyncio.sleep({takes})
        if event.data["n"] in {broken}:
            raise ValueError(event.data["card"])
        with open("effects", "a") as effects:
            effects.write(f"{{event.tenantid}} {{event.data['n']}}\\n")
"""


class Dlq:
    """A group with dead letters, and the command."""

    def __init__(self, brokers: str, topic: str, directory: Path) -> None:
        self.topic = topic
        self.group = f"orders-{uuid.uuid4().hex[:8]}"
        self.directory = directory
        self.brokers = brokers
        self._running: list[subprocess.Popen[str]] = []
        self.write_handlers()

    def write_handlers(self, *, takes: float = 0.0, broken: tuple[int, ...] = (), lifetime: float = 60.0) -> None:
        source = HANDLERS.format(group=self.group, topic=self.topic, takes=takes, broken=broken, lifetime=lifetime)
        (self.directory / "handlers.py").write_text(source)

    def write_letters(self, count: int) -> None:
        """Letters of as many events; event n is of tenant n % TENANTS."""
        self.write(*(write_letter(self.record(n), self.facts(n)) for n in range(count)))

    def write(self, *records: OutgoingRecord) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.brokers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,  # in order, though a partition that is new may refuse the first request
            }
        )
        for record in records:
            producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        assert producer.flush(SECONDS) == 0

    def put(self, record: Record) -> Record:
        """Write a record into its own topic; gives it as it is there."""
        producer, written = Producer({"bootstrap.servers": self.brokers}), list[Message]()
        headers: list[tuple[str, str | bytes | None]] = [*record.headers]
        producer.produce(
            record.topic,
            record.value,
            record.key,
            headers=headers,
            timestamp=record.timestamp,
            on_delivery=lambda _, message: written.append(message),
        )
        assert producer.flush(SECONDS) == 0
        return record._replace(partition=written[0].partition() or 0, offset=written[0].offset() or 0)

    def record(self, n: int, *, event_id: str = "", source: str = "s", tenant: str = "") -> Record:
        data, tenant = {"n": n, "card": CARD}, tenant or f"t{n % TENANTS}"
        out = encode(CloudEvent(id=event_id or f"e{n}", source=source, type=self.topic, tenantid=tenant, data=data))
        return Record(self.topic, n % 3, n, out.key, out.value, out.headers, 1_700_000_000_000 + n)

    def facts(self, n: int) -> DeadLetterFacts:
        return DeadLetterFacts(
            group_id=self.group,
            handler="Handler.handle",
            error="KeyError" if n % 4 else "OSError",
            reason="KeyError at handlers.py:9",
            attempts=5,
            first_failure=1_700_000_000 + n,
            last_failure=1_700_000_100 + n,
            event_id=f"e{n}",
            event_source="s",
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("eventzr-kafka"), "dlq", *arguments],
            cwd=self.directory,
            env={**os.environ, "KAFKA_BROKERS": self.brokers},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append(process)
        return process

    def run(self, *arguments: str, keys: bytes | None = None) -> tuple[int, str]:
        """Exit code and output of the command in this process, with a terminal if there are keys to type."""
        code, output = run_here(["dlq", *arguments], self.directory, env={"KAFKA_BROKERS": self.brokers}, keys=keys)
        assert CARD not in output or "--payload" in arguments
        return code, output

    def run_alone(self, *arguments: str) -> tuple[int, str]:
        """The same, as a process of its own."""
        process = self.begin(*arguments)
        output, _ = process.communicate(timeout=SECONDS)
        return process.returncode, output

    def overview(self, *filters: str) -> dict[str, Any]:
        code, output = self.run("ls", self.group, "--json", *filters)
        assert code == 0, output
        found: dict[str, Any] = json.loads(output)
        return found

    def effects(self, name: str = "effects") -> list[tuple[str, int]]:
        path = self.directory / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [(tenant, int(n)) for tenant, n in map(str.split, lines)]

    def notes(self) -> list[Note]:
        reader = ConfluentLogReader(KafkaSettings(brokers=self.brokers), self.group)
        batches = reader.read(dead_letter_topic(self.group))
        assert batches is not None
        return [note for records in batches for record in records if (note := read_note(record)) is not None]

    def commit(self, offsets: dict[int, int]) -> None:
        """Commit for the group, as its consumer does."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": self.group})
        consumer.commit(offsets=[TopicPartition(self.topic, *each) for each in offsets.items()], asynchronous=False)
        consumer.close()

    def records_in_origin(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "another-group"})
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(self.topic, n), timeout=10) for n in range(3)]
        finally:
            consumer.close()
        return sum(end for _, end in ends)

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture
def dlq(kafka: KafkaServer, topic: TopicFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dlq]:
    monkeypatch.setattr(dlq_claim, "TIMES", dlq_claim.TIMES)  # the handlers set it
    found = Dlq(kafka.bootstrap_servers, topic(partitions=3), tmp_path)
    kafka.create_topic(dead_letter_topic(found.group), partitions=3)
    yield found
    found.close()


def in_order(effects: list[tuple[str, int]]) -> bool:
    """Whether every tenant's events first happened in their order."""
    first = list(dict.fromkeys(effects))
    by_tenant = {tenant: [n for other, n in first if other == tenant] for tenant, _ in first}
    return all(numbers == sorted(numbers) for numbers in by_tenant.values())


def expected(numbers: range) -> list[tuple[str, int]]:
    return sorted((f"t{n % TENANTS}", n) for n in numbers)


def test_all_dead_letters_are_replayed_in_order(dlq: Dlq) -> None:
    dlq.write_letters(60)

    code, output = dlq.run("replay", "handlers:Handler")

    assert (code, output) == (0, "replayed 60 of 60 dead letters\n")
    assert sorted(dlq.effects()) == expected(range(60))
    assert in_order(dlq.effects())
    assert dlq.records_in_origin() == 0
    assert [dlq.overview()[name] for name in ("open", "replayed")] == [0, 60]
    assert dlq.run("replay", "handlers:Handler") == (0, "replayed 0 of 0 dead letters\n")
    assert len(dlq.effects()) == 60


def test_one_id_of_two_sources_or_tenants_is_replayed_for_each(dlq: Dlq) -> None:
    twins = [("t1", "svc-a"), ("t1", "svc-b"), ("t2", "svc-a"), ("t1", "svc-a")]
    for n, (tenant, source) in enumerate(twins):
        facts = replace(dlq.facts(n), event_id="42", event_source=source)
        dlq.write(write_letter(dlq.record(n, event_id="42", source=source, tenant=tenant), facts))

    code, output = dlq.run("replay", "handlers:Handler")

    done = "replayed 4 of 4 dead letters\n  1 without a call: their events had been replayed already\n"
    assert (code, output) == (0, done)
    assert sorted(dlq.effects()) == [("t1", 0), ("t1", 1), ("t2", 2)]


def test_cut_dead_letters_are_replayed_from_their_topic(dlq: Dlq) -> None:
    kept, gone, changed = (dlq.record(n, tenant=f"t{n}") for n in range(3))
    kept, changed = dlq.put(kept), dlq.put(changed)
    dlq.write(write_letter(kept, dlq.facts(0), shrink=2))
    dlq.write(write_letter(gone._replace(offset=10_000), dlq.facts(1), shrink=2))
    dlq.write(write_letter(changed._replace(value=b"x" * len(changed.value or b"")), dlq.facts(2), shrink=3))

    code, output = dlq.run("replay", "handlers:Handler")

    assert dlq.effects() == [("t0", 0)]
    assert (code, "replayed 1 of 3 dead letters" in output) == (1, True)
    assert "left open: 2 without their value, which did not fit and was deleted from their topic" in output
    assert f"{gone._replace(offset=10_000).position}: not replayed" in output
    _, output = dlq.run("show", dlq.group, kept.position)
    size = f"{len(kept.value or b''):,} bytes"
    assert (
        f"its value is not here: {size}, SHA-256 {Cut.measure(kept.value).sha256}; read it at {kept.position}" in output
    )


def test_killed_replay_is_resumed(dlq: Dlq) -> None:
    dlq.write_letters(500)
    dlq.write_handlers(takes=0.02)
    killed = dlq.begin("replay", "handlers:Handler")
    wait_until(lambda: len(dlq.effects()) >= 60 or killed.poll() is not None)
    assert killed.poll() is None
    killed.kill()
    killed.communicate()
    before = dlq.overview()["open"]

    code, output = dlq.run("replay", "handlers:Handler")

    assert 0 < before < 500
    assert (code, output) == (0, f"replayed {before} of {before} dead letters\n")
    assert sorted(set(dlq.effects())) == expected(range(500))
    assert in_order(dlq.effects())
    assert len(dlq.effects()) <= 500 + 4  # what ran when it was killed, and nothing else, ran again
    assert Counter(note.kind for note in dlq.notes()) == {"replayed": 500}
    assert dlq.overview()["open"] == 0


def test_second_replay_is_refused(dlq: Dlq) -> None:
    dlq.write_letters(40)
    (dlq.directory / "hold").touch()
    first = dlq.begin("replay", "handlers:Handler")
    wait_until(lambda: dlq.effects("calls") or first.poll() is not None)
    assert first.poll() is None

    code, refused = dlq.run("replay", "handlers:Handler")
    second = dlq.begin("replay", "handlers:Handler", "--wait")
    time.sleep(1.0)  # whether it claims before or after the first has ended: both must do
    (dlq.directory / "hold").unlink()
    output, _ = first.communicate(timeout=SECONDS)
    waited, _ = second.communicate(timeout=SECONDS)

    assert (first.returncode, output) == (0, "replayed 40 of 40 dead letters\n")
    assert code == 2, refused
    holder = rf"process \S+:{first.pid}:\w+"
    assert re.match(rf"error: {dlq.group}: {holder} replays this group, and renewed its claim \d+ s ago: ", refused)
    assert second.returncode == 0
    assert waited.endswith("replayed 0 of 0 dead letters\n")
    assert sorted(dlq.effects("calls")) == expected(range(40))


def test_abandoned_claim_ends_by_itself(dlq: Dlq) -> None:
    dlq.write_letters(10)
    dlq.write_handlers(lifetime=3.0)
    dlq.write(write_claim(dlq.group, "another-host/1:1:abc"))

    code, refused = dlq.run("replay", "handlers:Handler")
    waited = dlq.run("replay", "handlers:Handler", "--wait")

    assert code == 2 or "waiting for the replay of process another-host/1:1:abc" in refused  # a slow machine
    assert waited[0] == 0, waited[1]
    assert sorted(dlq.effects()) == expected(range(10))


def test_redelivered_dead_letter_stays_closed(dlq: Dlq) -> None:
    """The consumer had died before its commit: the group has none."""
    dlq.write_letters(3)
    assert dlq.run("replay", "handlers:Handler")[0] == 0

    again = replace(dlq.facts(1), last_failure=time.time() + 60, position=0)
    dlq.write(write_letter(dlq.record(1), again))

    assert dlq.overview()["open"] == 0
    assert len(dlq.effects()) == 3


def test_offset_reset_opens_dead_letter_again(dlq: Dlq) -> None:
    dlq.write_letters(3)
    dlq.commit({0: 1, 1: 2, 2: 3})
    assert dlq.run("replay", "handlers:Handler")[0] == 0

    again = replace(dlq.facts(1), last_failure=1_700_000_000, position=1)
    dlq.write(write_letter(dlq.record(1), again))

    assert dlq.overview()["open"] == 1
    assert dlq.run("discard", dlq.group, "--reason", "test", "--yes")[0] == 0
    assert dlq.overview()["open"] == 0


def test_sigterm_finishes_and_counts_the_rest(dlq: Dlq) -> None:
    dlq.write_letters(200)
    dlq.write_handlers(takes=0.05)
    process = dlq.begin("replay", "handlers:Handler")
    wait_until(lambda: len(dlq.effects()) >= 10)

    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=SECONDS)

    done = len(dlq.effects())
    assert process.returncode == 1, output
    assert output.endswith(f"replayed {done} of 200 dead letters\n  left open: {200 - done} not begun\n")
    assert dlq.overview()["replayed"] == done < 200


def test_failed_replay_holds_its_ordering_key(dlq: Dlq) -> None:
    dlq.write_letters(30)
    dlq.write_handlers(broken=(3,))

    code, output = dlq.run("replay", "handlers:Handler")

    assert code == 1
    assert "replayed 27 of 30 dead letters\n  left open: 1 failed again\n" in output
    assert "  left open: 2 behind one that failed, of the same ordering key\n" in output
    assert {n for _, n in dlq.effects()} == set(range(30)) - {3, 13, 23}
    code, shown = dlq.run("show", dlq.group, f"{dlq.topic}[0]@3", "--json")
    letter = json.loads(shown)
    assert (code, letter["state"], letter["attempts"]) == (0, "open", 7)
    assert letter["last_replay"].startswith("failed: ValueError at ")


def test_ls_counts_and_filters(dlq: Dlq) -> None:
    dlq.write_letters(40)

    code, table = dlq.run("ls", "handlers:Handler")

    assert code == 0
    assert re.search(rf"Handler\.handle +{re.escape(dlq.topic)} +KeyError +30 +t0, t1, t2 and 7 more ", table)
    assert f"{dead_letter_topic(dlq.group)} 40 open dead letters of 10 tenants, 0 replayed, 0 discarded\n" in table
    assert [(group["error"], group["letters"]) for group in dlq.overview()["groups"]] == [
        ("KeyError", 30),
        ("OSError", 10),
    ]
    assert dlq.overview("--tenant", "t4", "--error", "OSError")["selected"] == 2
    assert dlq.overview("--until", "2023-11-14T22:15:09Z")["selected"] == 10
    assert dlq.overview("--since", "1h")["selected"] == 0
    assert dlq.overview("--topic", "another.topic")["selected"] == 0


def test_parked_letters_wait_for_their_failure(dlq: Dlq) -> None:
    for n in range(5):
        tenant = "a" if n < 4 else "b"
        facts = replace(dlq.facts(n), error="parked" if n else "ValueError")
        dlq.write(write_letter(dlq.record(n, tenant=tenant), facts))
    head, selected = f"{dlq.topic}[0]@0", ("--error", "parked")

    dry = dlq.run("replay", "handlers:Handler", *selected, "--dry-run")
    code, output = dlq.run("replay", "handlers:Handler", *selected)
    effects = dlq.effects()
    whole = dlq.run("replay", "handlers:Handler", "--letter", head, "--letter", f"{dlq.topic}[1]@1")

    advice = "these are open and not selected: replay or discard them first"
    left_out = f"left out: 3 dead letters behind {head}\n  {advice}\n"
    assert dry[1].startswith(left_out)
    assert "dry run: 1 dead letter would be replayed\n" in dry[1]
    assert (code, output) == (1, f"{left_out}replayed 1 of 1 dead letter\n")
    assert effects == [("b", 4)]
    assert whole == (0, "replayed 2 of 2 dead letters\n")
    assert dlq.effects() == [("b", 4), ("a", 0), ("a", 1)]


def test_payload_is_shown_on_request_alone(dlq: Dlq) -> None:
    dlq.write_letters(1)
    name = f"{dlq.topic}[0]@0"

    code, shown = dlq.run("show", dlq.group, name)  # `run` looks for the payload in every output
    _, full = dlq.run("show", dlq.group, name, "--payload")

    assert code == 0
    assert "reason        KeyError at handlers.py:9\n" in shown
    assert f'"card":"{CARD}"' in full
    assert dlq.run("show", dlq.group, "0@999")[0] == 2


def test_discard_keeps_its_reason(dlq: Dlq) -> None:
    dlq.write_letters(20)

    assert dlq.run("discard", dlq.group)[0] == 2
    assert dlq.run("discard", dlq.group, "--reason", " ")[0] == 2
    assert dlq.run("discard", dlq.group, "--reason", "test data")[0] == 2  # nobody is there to confirm
    assert dlq.notes() == []
    code, output = dlq.run("discard", dlq.group, "--reason", "test data", "--error", "OSError", "--yes")

    assert code == 0
    assert output.endswith("discarded 5 dead letters\n")
    assert {(note.kind, note.why) for note in dlq.notes()} == {("discarded", "test data")}
    assert [dlq.overview()[name] for name in ("open", "discarded")] == [15, 5]
    assert "discarded at 20" in dlq.run("show", dlq.group, f"{dlq.topic}[0]@0")[1]


@pytest.mark.parametrize(
    ("keys", "notes", "last"),
    [
        (b"y\n", 3, "discarded 3 dead letters"),
        (b"n\n", 0, "declined: nothing was changed"),
        (b"\n", 0, "declined: nothing was changed"),
        (CTRL_D, 0, "declined: nothing was changed"),
    ],
    ids=["yes", "no", "nothing", "ctrl-d"],
)
def test_discard_asks_on_a_terminal(dlq: Dlq, keys: bytes, notes: int, last: str) -> None:
    dlq.write_letters(3)

    code, output = dlq.run("discard", dlq.group, "--reason", "test data", keys=keys)

    assert code == (0 if notes else 1)
    assert output.endswith(f"{last}\n")
    assert "Discard 3 dead letters? [y/N] " in output
    assert [note.kind for note in dlq.notes()] == ["discarded"] * notes


def test_discard_is_left_by_ctrl_c(dlq: Dlq) -> None:
    dlq.write_letters(1)

    arguments = [*COMMAND, "dlq", "discard", dlq.group, "--reason", "test data"]
    ended = python_on_a_terminal(arguments, CTRL_C, question="[y/N] ", env={"KAFKA_BROKERS": dlq.brokers})

    assert ended.code in {130, -signal.SIGINT}  # a shell calls both 130; the key may be pressed twice
    assert "Traceback" not in ended.text
    assert dlq.notes() == []


def test_dry_run_changes_nothing(dlq: Dlq) -> None:
    dlq.write_letters(10)

    replay = dlq.run("replay", "handlers:Handler", "--dry-run", "--limit", "4")
    discard = dlq.run("discard", dlq.group, "--reason", "r", "--dry-run")

    assert (replay[0], discard[0]) == (0, 0)
    assert "dry run: 4 dead letters would be replayed\n" in replay[1]
    assert "dry run: 10 dead letters would be discarded\n" in discard[1]
    assert dlq.effects() == []
    assert dlq.notes() == []


@pytest.mark.parametrize("command", ["ls", "show", "discard"])
def test_missing_dlq_topic_exits_with_2(dlq: Dlq, command: str) -> None:
    more = {"ls": (), "show": ("0@0",), "discard": ("--reason", "r", "--yes")}[command]

    code, output = dlq.run_alone(command, "no-such-group", *more)

    assert code == 2
    assert output.startswith("error: topic no-such-group.dlq does not exist: ")
