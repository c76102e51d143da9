"""`eventzr-kafka outbox`: an address that does not work ends in one line, and no line shows a piece of its password."""

from __future__ import annotations

from typing import Any

import aiosqlite.core
import pytest
import sqlalchemy.ext.asyncio

from eventzr_kafka.cli.app import call


@pytest.mark.parametrize(
    ("url", "said", "code"),
    [
        ("postgresql://me:s3@cret@h/d", "write an @ that belongs to a name or a password as %40", 2),
        ("postgresql://me:s3@/cret@h/d", "write an @ that belongs to a name or a password as %40", 2),
        ("postgresql://me:s3cret/d", "--url is not a database address", 2),
        ("s3cret", "--url is not a database address", 2),
        ("mysql://me:s3cret@h/d", "works on PostgreSQL and SQLite", 2),
        ("postgresql+psycopg2://me:s3cret@127.0.0.1:1/d", "port 1 failed: Connection refused", 1),
        ("postgresql://me@127.0.0.1:1/d?password=s3&cret=x", "does not know an option of --url", 1),
        (f"postgresql://me:s3cret@{'h' * 80}/d", "the host name is not valid", 2),
        ("sqlite:////nowhere/a@b@c.db", "unable to open database file", 1),
    ],
)
def test_wrong_address_is_one_line_without_its_password(
    url: str, said: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(["outbox", "status", "--url", url]) == code
    shown = "".join(capfd.readouterr())
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert "s3" not in shown
    assert "cret" not in shown


def test_unreadable_file_is_reported_before_the_driver_starts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def asked(_connection: object) -> None:
        pytest.fail("the driver was asked")

    monkeypatch.setattr(aiosqlite.core.Connection, "__await__", asked)
    assert call(["outbox", "status", "--url", "sqlite:////nowhere/c.db"]) == 1
    assert "unable to open database file" in "".join(capfd.readouterr())


def test_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def missing(_url: Any) -> None:
        raise ModuleNotFoundError("No module named 'aiosqlite'", name="aiosqlite")

    monkeypatch.setattr(sqlalchemy.ext.asyncio, "create_async_engine", missing)
    assert call(["outbox", "status", "--url", "sqlite:///x.db"]) == 2
    assert "pip install 'eventzr-kafka[outbox-sqlite]'" in "".join(capfd.readouterr())
