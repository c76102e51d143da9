"""What `make test` installs, and what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import machine
from tests.machine import Need

CALLS = Callable[[int, str | None], list[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CALLS:
    """Set up a machine that lacks Chromium, as a user and with `SETUP`; gives the commands that ran."""

    def set_up(user: int, setup: str | None) -> list[str]:
        ran: list[str] = []

        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            ran.append(" ".join(command))
            return subprocess.CompletedProcess(command, 0, "", "")

        missing = [Need("Chromium", ("chromium",), lambda: False), Need("Node.js", ("nodejs",), lambda: True)]

        def which(name: str) -> str:
            return f"/usr/bin/{name}"

        monkeypatch.setattr(machine, "NEEDS", missing)
        monkeypatch.setattr(machine, "libs_folder", lambda: tmp_path)
        monkeypatch.setattr(machine, "archive", lambda: tmp_path)
        monkeypatch.setattr(shutil, "which", which)
        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(os, "geteuid", lambda: user)
        if setup is None:
            monkeypatch.delenv("SETUP", raising=False)
        else:
            monkeypatch.setenv("SETUP", setup)
        monkeypatch.setattr(machine, "_has_jdk", lambda: True)
        machine.set_up()
        return ran

    return set_up


@pytest.mark.parametrize(("user", "setup", "apt"), [(0, None, "apt-get"), (1000, "1", "sudo apt-get")])
def test_missing_program_is_installed(
    calls: CALLS, capsys: pytest.CaptureFixture[str], user: int, setup: str | None, apt: str
) -> None:
    update, install = calls(user, setup)

    assert update.startswith(f"{apt} ")
    assert update.endswith(" update")
    assert install.startswith(f"{apt} ")
    assert install.endswith(" install --yes --no-install-recommends chromium")
    assert "set-up: this machine lacks Chromium: apt-get installs it" in capsys.readouterr().err


@pytest.mark.parametrize("setup", [None, "0", ""])
def test_other_user_gets_one_command(calls: CALLS, capsys: pytest.CaptureFixture[str], setup: str | None) -> None:
    assert calls(1000, setup) == []
    said = capsys.readouterr().err
    assert "this machine lacks Chromium; their tests are not run. To install it: SETUP=1 make test" in said


@pytest.mark.parametrize(("setting", "end"), [("auto", pytest.skip.Exception), ("real", pytest.fail.Exception)])
def test_missing_program_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, setting: str, end: type[BaseException]
) -> None:
    monkeypatch.setenv("EVENTZR_KAFKA_TEST_BROKER", setting)

    with pytest.raises(end, match="this machine lacks Chromium"):
        machine.lack("Chromium")


def test_class_archive_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive, made = tmp_path / "classes.jsa", list[Path]()

    def make() -> None:
        made.append(archive)
        archive.touch()

    monkeypatch.setattr(machine, "NEEDS", [])
    monkeypatch.setattr(machine, "_has_jdk", lambda: True)
    monkeypatch.setattr(machine, "libs_folder", lambda: tmp_path)
    monkeypatch.setattr(machine, "archive", lambda: archive)
    monkeypatch.setattr(machine, "make_archive", make)

    machine.set_up()
    machine.set_up()

    assert made == [archive]
