"""An outbox while Kafka is disabled: its events are skipped, or kept up to a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from tests.outbox.conftest import listings
from tests.outbox.fake_kafka import FakeKafka
from tests.waiting import until

from eventzr_kafka import KafkaSettings
from eventzr_kafka.cli.app import call
from eventzr_kafka.errors import ConfigurationError, EncodeError, ProducerError
from eventzr_kafka.outbox import Outbox, OutboxFullError, OutboxRelay, read_status
from eventzr_kafka.outbox.kept_rows import pending_up_to
from eventzr_kafka.outbox.tables import events
from eventzr_kafka.outbox.writer import _log_skipping
from eventzr_marketplace_events import ListingCreated, example

LISTING = example(ListingCreated)
SKIP = KafkaSettings(enabled=False)
HINT = "enable Kafka, so that a relay publishes them, or raise OUTBOX_KEPT_ROWS"


@pytest.fixture(autouse=True)
def first_in_process() -> Iterator[None]:
    _log_skipping.cache_clear()
    yield
    _log_skipping.cache_clear()


@pytest.fixture
def kafka_log() -> FakeKafka:
    return FakeKafka()


def keep(rows: int) -> KafkaSettings:
    return KafkaSettings(enabled=False, outbox_while_disabled="keep", outbox_kept_rows=rows)


async def publish(engine: AsyncEngine, outbox: Outbox, events: int = 1) -> None:
    """Commit a listing with so many events."""
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(listings.insert().values(tenant_id="t1"))
        for _ in range(events):
            outbox.publish(session, LISTING, tenant_id="t1")


async def pending(engine: AsyncEngine) -> int:
    return (await read_status(engine)).pending


async def listed(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        count: int = (await connection.execute(text("SELECT count(*) FROM listing"))).scalar_one()
        return count


async def test_skipping_logs_one_line(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    for outbox in (Outbox(settings=SKIP), Outbox(settings=SKIP)):
        await publish(engine, outbox, events=2)

    assert (await pending(engine), await listed(engine)) == (0, 2)
    (line,) = [record for record in caplog.records if "are skipped" in record.message]
    assert (line.levelno, "OUTBOX_WHILE_DISABLED=keep keeps them" in line.message) == (logging.WARNING, True)


async def test_environment_decides(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")  # where Kafka is disabled by default
    await publish(engine, Outbox())
    assert await pending(engine) == 0
    monkeypatch.setenv("OUTBOX_WHILE_DISABLED", " Keep ")
    await publish(engine, Outbox())
    assert await pending(engine) == 1


async def test_skipped_event_is_checked(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.raises(EncodeError, match="tenantid"):
            Outbox(settings=SKIP).publish(session, LISTING, tenant_id="")
        assert Outbox(settings=SKIP).publish(session, LISTING, tenant_id="t1", event_id="e1") == "e1"


async def test_kept_rows_are_published_later(engine: AsyncEngine, kafka_log: FakeKafka) -> None:
    await publish(engine, Outbox(settings=keep(10)), events=3)
    async with OutboxRelay(engine, KafkaSettings(), transport=kafka_log.client):
        await until(lambda: is_empty(engine))
    assert len(kafka_log.log) == 3


async def is_empty(engine: AsyncEngine) -> bool:
    return await pending(engine) == 0


async def test_commit_at_the_bound_fails(engine: AsyncEngine) -> None:
    outbox = Outbox(settings=keep(5))
    await publish(engine, outbox, events=3)
    with pytest.raises(OutboxFullError, match=r"nothing was committed: .* 3 of at most 5 rows wait already; ") as full:
        await publish(engine, outbox, events=3)
    assert (full.value.pending, full.value.bound, full.value.hint) == (3, 5, HINT)
    assert isinstance(full.value, ProducerError)
    assert (await pending(engine), await listed(engine)) == (3, 1)
    await publish(engine, outbox, events=2)
    assert await pending(engine) == 5


async def test_published_rows_do_not_count(engine: AsyncEngine) -> None:
    outbox = Outbox(settings=keep(5))
    await publish(engine, outbox)  # it stays the oldest, so the span of the ids is wide
    await publish(engine, outbox, events=4)
    async with engine.begin() as connection:
        await connection.execute(update(events).where(events.c.id > 1).values(published_at=text("'2026-01-01 00:00'")))
        assert (await connection.execute(pending_up_to(5))).scalar_one() == 1
    await publish(engine, outbox, events=4)
    assert await pending(engine) == 5


async def test_nearly_full_outbox_is_logged_once(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="eventzr_kafka.outbox")
    outbox = Outbox(settings=keep(10))
    await publish(engine, outbox, events=7)
    assert caplog.messages == []
    for _ in range(2):
        await publish(engine, outbox)
    near = f"the outbox is nearly full: Kafka is disabled, and 8 of at most 10 rows wait; {HINT}"
    assert caplog.messages == [near]
    async with engine.begin() as connection:
        await connection.execute(events.delete())
    await publish(engine, outbox)
    assert caplog.messages[1].startswith("the outbox has room again after ")


@pytest.mark.parametrize(
    ("rows", "problem"), [(7, None), (8, "is nearly full"), (10, "is full: commits with events fail")]
)
async def test_disabled_relay_reports_the_bound(engine: AsyncEngine, rows: int, problem: str | None) -> None:
    await publish(engine, Outbox(settings=keep(10)), events=rows)
    relay = OutboxRelay(engine, keep(10))
    await relay._count_kept()
    assert [problem in found for found in relay.problems if problem] == ([True] if problem else [])
    assert bool(relay.problems) == bool(problem)


async def test_disabled_relay_watches_the_bound(engine: AsyncEngine) -> None:
    await publish(engine, Outbox(settings=keep(2)), events=2)
    async with OutboxRelay(engine, keep(2)) as relay:
        await until(lambda: bool(relay.problems))
    assert relay.problems == [
        f"the outbox is full: commits with events fail: Kafka is disabled, and 2 of at most 2 rows wait; {HINT}"
    ]


async def test_disabled_relay_names_the_missing_table(url: str) -> None:
    engine = create_async_engine(url)
    with pytest.raises(ConfigurationError, match=r"table \w+ is missing: include eventzr_kafka\.outbox\.migration"):
        await OutboxRelay(engine, keep(2)).run()
    await engine.dispose()


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({}, "new events are skipped; OUTBOX_WHILE_DISABLED=keep keeps them"),
        ({"OUTBOX_WHILE_DISABLED": "keep"}, "new events are kept, at most 100,000 rows"),
        ({"OUTBOX_WHILE_DISABLED": "keep", "OUTBOX_KEPT_ROWS": "3"}, "the outbox is full: commits with events fail"),
    ],
)
async def test_status_shows_what_disabled_means(
    engine: AsyncEngine,
    environ: dict[str, str],
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await publish(engine, Outbox(settings=keep(10)), events=3)
    for name, value in {"KAFKA_ENABLED": "false", **environ}.items():
        monkeypatch.setenv(name, value)
    url = engine.url.render_as_string(hide_password=False)
    assert await asyncio.to_thread(call, ["outbox", "status", "--url", url]) == 0
    assert shown in " ".join(capsys.readouterr().out.split())


def test_relay_command_shows_that_rows_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def end(_relay: OutboxRelay) -> None: ...

    monkeypatch.setattr(OutboxRelay, "run", end)
    monkeypatch.setenv("KAFKA_ENABLED", "false")
    monkeypatch.setenv("KAFKA_EVENT_LOOP", "asyncio")
    assert call(["outbox", "relay", "--url", f"sqlite:///{tmp_path}/outbox.db"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["Kafka is disabled (KAFKA_ENABLED): the rows wait", "stopped"]
    assert "event loop: asyncio" in err
