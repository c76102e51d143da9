"""What the tests need from the machine besides Python: looked for, and installed where that may be done.

``make test`` begins with ``python -m tests.machine``. It installs Debian's packages with apt as root; as another user
it uses sudo only with ``SETUP=1``, and otherwise names the one command. Nothing here ends a run: tests that lack
something are not run, and the last line of a run counts them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import pytest
from tests.kafka_classes import archive, make_archive
from tests.postgres import binaries

from eventzr_kafka.testing._kafka_jars import find_jars, libs_folder, resolve_libs
from eventzr_kafka.testing.kafka_server import KafkaServerError, KafkaUnavailableError

__all__ = ["COMMAND", "NOT_RUN", "chromium", "lack", "lacking", "set_up"]

COMMAND: Final = "SETUP=1 make test"
NOT_RUN: Final = "this machine lacks "
"""How the reason of a test begins that is not run for want of a program."""


@dataclass(frozen=True, slots=True)
class Need:
    """A program.

    Attributes:
        packages: Debian's, which bring it.
        is_met: Whether it is there.
    """

    name: str
    packages: tuple[str, ...]
    is_met: Callable[[], bool]


def chromium() -> str | None:
    """The browser that pages are tested in."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _has_jdk() -> bool:
    try:
        find_jars()
    except KafkaUnavailableError:
        return False
    return shutil.which("javac") is not None and shutil.which("keytool") is not None


def _has_node() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def _has_postgres() -> bool:
    try:
        return subprocess.run([binaries() / "postgres", "--version"], capture_output=True, check=False).returncode == 0
    except (AssertionError, OSError):
        return False


NEEDS: Final = (
    Need("a JDK 17 and Maven", ("default-jdk-headless", "maven"), _has_jdk),
    Need("Node.js with npm", ("nodejs", "npm"), _has_node),
    Need("Chromium", ("chromium",), lambda: chromium() is not None),
    Need("what PostgreSQL's wheel links to", ("zlib1g",), _has_postgres),
)


def lack(name: str) -> NoReturn:
    """End a test that needs what is not there: not run, or failed where every test is demanded."""
    if os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real":
        pytest.fail(f"EVENTZR_KAFKA_TEST_BROKER=real, but {NOT_RUN}{name}", pytrace=False)
    pytest.skip(f"{NOT_RUN}{name}")


def lacking() -> list[Need]:
    """What is not there."""
    return [need for need in NEEDS if not need.is_met()]


def set_up() -> None:
    """Install what is lacking, if that may be done, and fetch Kafka's jars."""
    missing = lacking()
    if missing:
        names = ", ".join(need.name for need in missing)
        command = _apt()
        if command is None:
            _say(f"{NOT_RUN}{names}; their tests are not run. To install it: {_by_hand(missing)}")
        else:
            _say(f"{NOT_RUN}{names}: apt-get installs it (first time: a few minutes)")
            _install(command, [package for need in missing for package in need.packages])
    if _has_jdk() and not libs_folder().is_dir():
        _say("Maven fetches the jars of Apache Kafka, 54 MB, once a machine")
        try:
            resolve_libs()
        except KafkaUnavailableError as error:
            _say(str(error))
    if _has_jdk() and libs_folder().is_dir() and not archive().exists():
        _say("a broker runs once, so that later ones come up faster")
        try:
            make_archive()
        except KafkaServerError as error:
            _say(str(error))


def _apt() -> list[str] | None:
    """How apt-get may be called here, or None."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    return ["sudo", "apt-get"] if os.environ.get("SETUP") == "1" else None


def _by_hand(missing: list[Need]) -> str:
    if shutil.which("apt-get") is None:
        return "your system's packages of " + ", ".join(need.name for need in missing)
    return f"{COMMAND}, which calls sudo apt-get"


def _install(apt: list[str], packages: list[str]) -> None:
    quiet = ["-qq", "-o=Dpkg::Use-Pty=0"]
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run([*apt, *quiet, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            _say(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-500:]}")
            return


def _say(text: str) -> None:
    print(f"set-up: {text}", file=sys.stderr, flush=True)  # noqa: T201 -- a command


if __name__ == "__main__":
    set_up()
