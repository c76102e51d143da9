"""Several workers, as processes without Kafka: when one comes back, what is said of them, and how they are stopped."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import current_process

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manual_time import ManualTime

from eventzr_kafka.cli.app import call
from eventzr_kafka.cli.logs import name_process, set_up_logging
from eventzr_kafka.cli.run import Membership
from eventzr_kafka.cli.terminal import Terminal
from eventzr_kafka.cli.worker_process import WholeLines, WorkerReport
from eventzr_kafka.cli.workers import Readiness, Restarts
from eventzr_kafka.hooks import PartitionsAssigned
from eventzr_kafka.kafka.record import TopicPartition

# When a worker comes back


def test_worker_returns_later_each_time() -> None:
    restarts = Restarts(clock=ManualTime().clock)

    assert [restarts.ended("worker-1") for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, None]


def test_chance_adds_half_a_pause() -> None:
    restarts = Restarts(clock=ManualTime(random=1.0).clock)

    assert [restarts.ended("worker-1"), restarts.ended("worker-1")] == [1.5, 3.0]


def test_quiet_minute_resets_restarts() -> None:
    time = ManualTime()
    restarts = Restarts(clock=time.clock)
    restarts.ended("worker-1")

    time.now += 59.0
    assert restarts.ended("worker-1") == 2.0
    time.now += 60.0
    assert restarts.ended("worker-1") == 1.0


def test_event_that_ends_each_worker_ends_all() -> None:
    time = ManualTime()
    restarts = Restarts(clock=time.clock)
    ends = 0

    while restarts.ended(f"worker-{ends % 32}") is not None:
        ends += 1
        time.now += 3.0

    assert ends == 4 * 32


# What passes through


@given(st.lists(st.binary(max_size=20)))
def test_chunks_leave_as_whole_lines(chunks: list[bytes]) -> None:
    lines = WholeLines()

    passed = [lines.feed(chunk) for chunk in chunks]
    end = lines.take_rest()

    assert all(part.endswith(b"\n") for part in passed if part)
    assert (b"".join(passed) + end).rstrip(b"\n") == b"".join(chunks).rstrip(b"\n")


def test_endless_line_is_broken() -> None:
    lines = WholeLines()

    passed = [lines.feed(b"x" * 65536) for _ in range(17)]

    assert [len(part) for part in passed] == [0] * 16 + [17 * 65536 + 1]


def test_named_process_logs_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with named("worker-1"), logging_to_stderr("text"), logging_to_stderr("json"):
        logging.getLogger("service").warning("full")

    text, fields = capsys.readouterr().err.splitlines()
    assert text.endswith("Z WARNING worker-1 service: full")
    assert json.loads(fields)["process"] == "worker-1"


@contextmanager
def named(name: str) -> Generator[None]:
    before = current_process().name
    name_process(name)
    yield
    name_process(before)


@contextmanager
def logging_to_stderr(form: str) -> Generator[None]:
    level = logging.getLogger().level
    handler = set_up_logging("warning", "json" if form == "json" else "text")
    yield
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(level)


# What is said


def test_worker_joins_with_all_groups() -> None:
    sent: list[WorkerReport] = []
    membership = Membership({"a", "b"}, sent.append)

    membership.on_assigned(PartitionsAssigned("a", (TopicPartition("x", 1),)))
    membership.on_assigned(PartitionsAssigned("b", ()))

    assert sent == [
        WorkerReport(joined=False, partitions=frozenset({("x", 1)})),
        WorkerReport(joined=True, partitions=frozenset({("x", 1)})),
    ]


def report(*partitions: int, joined: bool = True) -> WorkerReport:
    return WorkerReport(joined, frozenset(("orders.v1", number) for number in partitions))


async def settled(readiness: Readiness) -> None:
    while readiness._timer is not None:  # noqa: ASYNC110 -- the loop's own timer, at 0 s
        await asyncio.sleep(0)


async def test_ready_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    readiness = Readiness(["worker-1", "worker-2"], Terminal())

    readiness.on_report("worker-1", report(0, 1))
    readiness.on_report("worker-2", report(joined=False))
    assert capsys.readouterr().out == ""
    readiness.on_report("worker-2", report(1))
    readiness.on_report("worker-2", report(0, 1))

    assert capsys.readouterr().out == "ready: 2 workers, 2 partitions of 1 topic\n"


async def test_ready_names_idle_workers(capsys: pytest.CaptureFixture[str]) -> None:
    readiness = Readiness(["worker-1", "worker-2"], Terminal(), settle=0.0)

    readiness.on_report("worker-1", report(0))
    readiness.on_report("worker-2", report())
    await settled(readiness)

    assert capsys.readouterr().out == (
        "ready: 2 workers, 1 partition of 1 topic; without partitions: worker-2 "
        "(too many workers, or other members have them)\n"
    )


async def test_idle_workers_are_not_ready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    readiness = Readiness(["worker-1"], Terminal(), settle=0.0)

    for _ in range(2):
        readiness.on_report("worker-1", report())
        await settled(readiness)
    assert capsys.readouterr().out == (
        "not ready: no worker has partitions so far: other members have them, or the topics do not exist\n"
    )
    readiness.on_report("worker-1", report(3))

    assert capsys.readouterr().out == "ready: 1 worker, 1 partition of 1 topic\n"


async def test_ended_worker_is_awaited_again(capsys: pytest.CaptureFixture[str]) -> None:
    readiness = Readiness(["worker-1", "worker-2"], Terminal())

    readiness.on_report("worker-1", report(0))
    readiness.on_end("worker-1")
    readiness.on_report("worker-2", report(1))
    assert capsys.readouterr().out == ""
    readiness.on_report("worker-1", report(0))

    assert capsys.readouterr().out.startswith("ready: 2 workers")


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["handlers:Handler", "--workers", "0"], 'Invalid value "0" for --workers. Must be >= 1.'),
        (["handlers:Handler", "--workers", "many"], 'Invalid value for --workers: unable to convert "many" into int.'),
        (["nowhere:Handler", "--workers", "2"], "error: module 'nowhere' is neither in"),
    ],
)
def test_wrong_call_starts_no_worker(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code = call(["run", *arguments])

    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert code == 2
    assert error.replace('"--workers"', "--workers").count(message) == 1  # older versions of cyclopts quote the name
