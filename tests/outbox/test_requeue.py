"""`eventzr-kafka outbox requeue` puts parked rows back, and only those that `status` names."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import create_engine, insert, select
from tests.outbox.conftest import create_tables
from tests.pty_call import COMMAND, CTRL_D, python_on_a_terminal

from eventzr_kafka._sql.database import database_time
from eventzr_kafka.cli.app import call
from eventzr_kafka.outbox.tables import events, is_pending

ROW = {"bucket": 0, "tenant_id": "t", "event_id": "e", "topic": "t.v1", "headers": "[]", "value": b"", "size": 0}


@pytest.fixture
def three_parked_and_one_published(url: str) -> str:
    create_tables(url)
    engine = create_engine(url.replace("+aiosqlite", ""))
    new = insert(events).values(created_at=database_time())
    with engine.begin() as connection:
        connection.execute(new.values(parked_at=database_time(), failure="too large"), [ROW] * 3)
        connection.execute(new.values(published_at=database_time()), ROW)
    engine.dispose()
    return url


def pending(url: str) -> list[int]:
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as connection:
        ids = list(connection.scalars(select(events.c.id).where(is_pending, events.c.failure.is_(None))))
    engine.dispose()
    return sorted(ids)


def test_status_shows_ids_for_requeue(three_parked_and_one_published: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["outbox", "requeue", "2", "--url", three_parked_and_one_published, "--yes"]) == 0
    capsys.readouterr()
    assert call(["outbox", "status", "--url", three_parked_and_one_published]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ *outbox: *1 pending, the oldest for \d+ s, 2 parked, no relay runs$", shown, re.MULTILINE)
    assert re.findall(r"^(\d|t) +(.*)$", shown, re.MULTILINE) == [
        ("t", "1"),
        ("1", "t       t.v1   too large  parked"),
        ("3", "t       t.v1   too large  parked"),
    ]


@pytest.mark.parametrize(("named", "requeued"), [(["2"], [2]), (["1", "3", "4"], [1, 3]), (["--all"], [1, 2, 3])])
def test_what_is_named_is_pending_again(
    three_parked_and_one_published: str, named: list[str], requeued: list[int]
) -> None:
    assert call(["outbox", "requeue", *named, "--url", three_parked_and_one_published, "--yes"]) == 0
    assert pending(three_parked_and_one_published) == requeued


@pytest.mark.parametrize("wrong", [["2"], ["--all"], ["--yes"], ["2", "--all", "--yes"]])
def test_requeue_needs_ids_and_a_yes(three_parked_and_one_published: str, wrong: list[str]) -> None:
    assert call(["outbox", "requeue", *wrong, "--url", three_parked_and_one_published]) == 2
    assert pending(three_parked_and_one_published) == []


@pytest.mark.parametrize(("keys", "requeued"), [(b"y\n", [1, 2, 3]), (b"n\n", []), (CTRL_D, [])])
def test_requeue_asks_on_a_terminal(three_parked_and_one_published: str, keys: bytes, requeued: list[int]) -> None:
    arguments = [*COMMAND, "outbox", "requeue", "--all", "--url", three_parked_and_one_published]
    ended = python_on_a_terminal(arguments, keys, question="[y/N] ")
    assert ended.code == (0 if requeued else 1)
    assert ("declined: nothing was changed" in ended.text) == (requeued == [])
    assert pending(three_parked_and_one_published) == requeued
