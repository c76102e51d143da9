"""The event loop that a command runs on: uvloop where it is installed and not turned off."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from eventzr_kafka.cli.app import call
from eventzr_kafka.cli.event_loop import run_on_loop
from eventzr_kafka.errors import MissingExtraError, SettingsError
from eventzr_kafka.settings import EventLoop, variables

uvloop: Any = pytest.importorskip("uvloop")  # not on Windows

HANDLERS = """
from eventzr_kafka import CloudEvent, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated

@kafka_consumer(group_id="g")
class Looping:
    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None: ...
"""


async def kind_of_loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def never() -> None:
    pytest.fail("the coroutine ran")


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of uvloop fails, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "uvloop", None)


@pytest.fixture
def usual_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """`asyncio.run` takes Python's own loop, also where the session runs on uvloop."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", asyncio.SelectorEventLoop)


@pytest.mark.parametrize("choice", ["auto", "uvloop"])
@pytest.mark.usefixtures("usual_loop")
def test_uvloop_is_used_and_logged(choice: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.cli")

    assert run_on_loop(kind_of_loop, choice) == "uvloop"
    assert caplog.messages == ["event loop: uvloop"]


def test_asyncio_turns_uvloop_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(asyncio.events, "new_event_loop", uvloop.new_event_loop)  # as if a module had installed it
    caplog.set_level(logging.INFO, "eventzr_kafka.cli")

    assert run_on_loop(kind_of_loop, "asyncio") == "asyncio"
    assert caplog.messages == ["event loop: asyncio"]


@pytest.mark.usefixtures("without_uvloop", "usual_loop")
def test_auto_without_uvloop_is_asyncio() -> None:
    assert run_on_loop(kind_of_loop, "auto") == "asyncio"


@pytest.mark.usefixtures("without_uvloop")
def test_missing_uvloop_names_its_extra() -> None:
    with pytest.raises(
        MissingExtraError, match=r"^KAFKA_EVENT_LOOP=uvloop needs an extra: .*eventzr-kafka\[uvloop\]'$"
    ):
        run_on_loop(never, "uvloop")


def test_uvloop_is_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(
        SettingsError, match=r"^KAFKA_EVENT_LOOP: uvloop does not run on Windows; write auto or asyncio$"
    ):
        run_on_loop(never, "uvloop")


@pytest.mark.parametrize(("choice", "kind"), [("", "uvloop"), ("asyncio", "asyncio"), ("UVLOOP", "uvloop")])
@pytest.mark.usefixtures("usual_loop")
def test_run_takes_the_loop_of_the_setting(
    choice: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in variables():
        monkeypatch.delenv(variable.name, raising=False)
    monkeypatch.setenv("KAFKA_ENABLED", "false")
    monkeypatch.setenv("KAFKA_EVENT_LOOP", choice)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "looping.py").write_text(HANDLERS)

    assert call(["run", "looping:Looping"]) == 0
    assert f"INFO eventzr_kafka.cli: event loop: {kind}\n" in capsys.readouterr().err
