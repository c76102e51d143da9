"""Node.js with the packages of the platform's JavaScript services; a session without it says so."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from eventzr_kafka.testing._kafka_jars import cache_folder

SCRIPTS: Final = Path(__file__).with_name("node")
MANIFEST: Final = SCRIPTS / "package.json"
INSTALL: Final = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
INSTALL_SECONDS: Final = 300.0
SCRIPT_SECONDS: Final = 240.0


class NodeUnavailableError(Exception):
    """No Node.js, or its packages cannot be had."""


@dataclass(frozen=True, slots=True)
class Node:
    """Runs the scripts beside this file with the packages that their ``package.json`` names."""

    packages: Path

    def run(self, script: str, *args: str, stdin: str = "") -> str:
        """Run a script to its good end and return what it printed."""
        command = ["node", str(SCRIPTS / script), *args]
        environment = {**os.environ, "NODE_PATH": str(self.packages), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=SCRIPT_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def pytest_report_collectionfinish(items: list[pytest.Item]) -> str | None:
    if not any("node" in getattr(item, "fixturenames", ()) for item in items):
        return None
    lacking = _lacking()
    outcome = "fail" if _is_demanded() else "be reported as skipped"
    return f"node: none - no {lacking}; tests with it will {outcome}" if lacking else f"node: {_version()}"


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js, its packages installed once a machine."""
    try:
        return Node(_packages())
    except NodeUnavailableError as error:
        if _is_demanded():
            pytest.fail(f"EVENTZR_KAFKA_TEST_BROKER=real, but {error}", pytrace=False)
        pytest.skip(str(error))


def _is_demanded() -> bool:
    return os.environ.get("EVENTZR_KAFKA_TEST_BROKER") == "real"


def _lacking() -> str:
    return " and no ".join(name for name in ("node", "npm") if shutil.which(name) is None)


def _version() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def _packages() -> Path:
    """The folder ``node_modules``; it gets there by one rename, so that what is there is complete."""
    lacking = _lacking()
    if lacking:
        raise NodeUnavailableError(f"no Node.js for tests: no {lacking}")
    folder = cache_folder() / f"node-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        shutil.copy(MANIFEST, made)
        try:
            subprocess.run(INSTALL, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
        except subprocess.TimeoutExpired as error:
            raise NodeUnavailableError(f"npm did not get the packages in {INSTALL_SECONDS:g} s") from error
        except subprocess.CalledProcessError as error:
            raise NodeUnavailableError(f"npm could not get the packages:\n{error.stderr}") from error
        made.rename(folder)
