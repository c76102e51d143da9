"""How the real Kafka for tests is chosen and got; none is started here."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from eventzr_kafka.testing import _kafka_backend as backend
from eventzr_kafka.testing import _kafka_docker as docker
from eventzr_kafka.testing import _kafka_jars as jars
from eventzr_kafka.testing import kafka_server
from eventzr_kafka.testing.kafka_server import (
    KAFKA_VERSION,
    KafkaStartError,
    KafkaUnavailableError,
    describe_kafka,
    start_kafka,
    unavailable_reason,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOBODY: Final = "tcp://127.0.0.1:1"  # a port that nobody listens on


def make_that_raises(error: Exception) -> Callable[[Mapping[str, str]], NoReturn]:
    def make(_: Mapping[str, str]) -> NoReturn:
        raise error

    return make


def offer(monkeypatch: pytest.MonkeyPatch, *, docker: Exception | None, jars: Exception | None) -> None:
    """Let both ways be there, each failing with its error when it is taken; None: the way is not there."""
    for name, error in (("docker", docker), ("jars", jars)):
        way = backend.KafkaLauncher(f"Kafka ({name})", make_that_raises(error)) if error else None

        def find(way: backend.KafkaLauncher | None = way, name: str = name) -> backend.KafkaLauncher:
            if way is None:
                raise KafkaUnavailableError(f"no {name}")
            return way

        monkeypatch.setattr(kafka_server, f"find_{name}", find)


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no programs but those written to ``bin``, an empty cache, and no Docker engine."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("DOCKER_HOST", NOBODY)
    return tmp_path


def write_java(machine: Path, version: str) -> None:
    write_program(machine / "bin" / "java", f"echo 'openjdk version \"{version}\"' >&2")


def test_docker_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, docker=KafkaStartError("taken"), jars=KafkaStartError("not taken"))

    assert describe_kafka() == "Kafka (docker)"
    with pytest.raises(KafkaStartError, match=r"^taken"):
        start_kafka()


def test_jars_are_taken_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, docker=None, jars=KafkaStartError("taken"))

    assert describe_kafka() == "Kafka (jars)"
    assert unavailable_reason() is None
    with pytest.raises(KafkaStartError, match=r"^taken"):
        start_kafka()


def test_engine_without_the_image_leaves_it_to_the_jars(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, docker=KafkaUnavailableError("no such image"), jars=KafkaStartError("taken"))

    with pytest.raises(KafkaStartError, match=r"^taken"):
        start_kafka()


def test_failed_broker_is_not_hidden_by_the_next_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, docker=KafkaStartError("broken"), jars=KafkaUnavailableError("not taken"))

    with pytest.raises(KafkaStartError, match=r"^broken"):
        start_kafka()


def test_error_names_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, docker=None, jars=None)

    assert describe_kafka() is None
    assert unavailable_reason() == "no docker, no jars"
    with pytest.raises(KafkaUnavailableError, match=r"^no real Kafka: no docker, no jars$"):
        start_kafka()


@pytest.mark.usefixtures("machine")
def test_silent_docker_engine_is_none() -> None:
    pytest.importorskip("testcontainers")

    with pytest.raises(KafkaUnavailableError, match=r"^no Docker engine$"):
        docker.find_docker()


@pytest.mark.usefixtures("machine")
def test_docker_needs_testcontainers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.core.docker_client", None)

    with pytest.raises(KafkaUnavailableError, match=r"^testcontainers is not installed$"):
        docker.find_docker()


@pytest.mark.parametrize("version", ["1.8.0_412", "11.0.2"])
def test_old_jdk_is_none(machine: Path, version: str) -> None:
    write_java(machine, version)
    write_program(machine / "bin" / "mvn", "")

    with pytest.raises(KafkaUnavailableError, match=r"^no JDK 17 or newer$"):
        jars.find_jars()


def test_java_home_comes_before_path(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_java(machine, "11.0.2")
    write_java(machine / "home", "21")
    write_program(machine / "bin" / "mvn", "")
    monkeypatch.setenv("JAVA_HOME", str(machine / "home"))

    assert jars.find_jars().description == f"Apache Kafka {KAFKA_VERSION} (jars, JDK 21)"


def test_jars_without_maven_must_exist(machine: Path) -> None:
    write_java(machine, "17.0.15")
    with pytest.raises(KafkaUnavailableError, match=r"^no Maven \(mvn\)"):
        jars.find_jars()

    jars.libs_folder().mkdir(parents=True)

    assert jars.find_jars().description == f"Apache Kafka {KAFKA_VERSION} (jars, JDK 17)"


def test_concurrent_sessions_fetch_jars_once(machine: Path) -> None:
    write_program(
        machine / "bin" / "mvn",
        f'echo run >>"{machine}/runs"; libs="${{6#-DoutputDirectory=}}"; '
        'mkdir -p "$libs"; touch "$libs/first.jar"; sleep 0.2; touch "$libs/last.jar"',
    )

    def look(_: int) -> list[str]:
        return sorted(path.name for path in jars.resolve_libs().iterdir())

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(look, range(4)))

    assert seen == [["first.jar", "last.jar"]] * 4
    assert (machine / "runs").read_text() == "run\n"


def test_failed_maven_is_quoted(machine: Path) -> None:
    write_program(machine / "bin" / "mvn", 'mkdir -p "${6#-DoutputDirectory=}"; echo unknown host; exit 1')

    with pytest.raises(KafkaUnavailableError, match="unknown host"):
        jars.resolve_libs()

    assert [path.name for path in jars.cache_folder().iterdir()] == [f"kafka-{KAFKA_VERSION}.lock"]


def test_cluster_id_is_16_bytes_and_no_option() -> None:
    ids = {backend.new_cluster_id() for _ in range(100)}

    assert len(ids) == 100
    assert {len(each) for each in ids} == {22}
    assert not any(each.startswith("-") for each in ids)


def run_session(setting: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a test that needs a real Kafka in a session of its own, on a machine that has none."""
    bare = {"PATH": "", "JAVA_HOME": "", "DOCKER_HOST": NOBODY, "EVENTZR_KAFKA_TEST_BROKER": setting}
    test = f"{Path(__file__).with_name('test_kafka_server.py')}::test_start_of_a_running_broker_is_a_no_op"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test, *args]
    return subprocess.run(command, env={**os.environ, **bare}, capture_output=True, text=True, timeout=240, check=False)


def test_auto_skips_and_reports_twice() -> None:
    session = run_session("auto")

    assert session.returncode == 0
    assert "kafka: none - no Docker engine, no JDK 17 or newer; tests marked 'real_kafka'" in session.stdout
    assert "kafka: tests skipped: 1, no real Kafka: no Docker engine, no JDK 17 or newer" in session.stdout
    assert session.stdout.splitlines()[-1].startswith("not run: 1 test, for want of programs; SETUP=1 make test")


def test_real_fails_where_there_is_none() -> None:
    session = run_session("real")

    assert session.returncode == 1
    assert "EVENTZR_KAFKA_TEST_BROKER=real, but no real Kafka: no Docker engine" in session.stdout


def test_fixture_brings_the_marker() -> None:
    assert "1 deselected" in run_session("auto", "-m", "not real_kafka").stdout


def test_another_setting_is_refused() -> None:
    session = run_session("reel")

    assert session.returncode == pytest.ExitCode.USAGE_ERROR
    assert "EVENTZR_KAFKA_TEST_BROKER=reel: must be 'auto' or 'real'" in session.stderr
