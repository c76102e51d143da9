"""The image of Kafka as far as it goes without Docker: what the container is told, and in which order."""

from __future__ import annotations

import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from eventzr_kafka.testing import _kafka_docker as docker
from eventzr_kafka.testing.kafka_server import KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FakeRunningContainer:
    """Keeps its files in a folder, and runs programs on this machine with those files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = "running"
        self.calls: list[str] = []

    def reload(self) -> None:
        pass

    def start(self) -> None:
        self.calls.append("start")
        self.status = "running"

    def stop(self, *, timeout: int) -> None:
        self.calls.append(f"stop {timeout}")
        self.status = "exited"

    def kill(self) -> None:
        self.calls.append("kill")
        self.status = "exited"

    def wait(self, *, timeout: float) -> object:
        return {"StatusCode": 137, "timeout": timeout}

    def logs(self, *, tail: int) -> bytes:
        return f"the last {tail} lines".encode()

    def put_archive(self, path: str, data: bytes) -> bool:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                self.folder.joinpath(member.name).write_bytes(content.read())
        return path == "/tmp"  # noqa: S108 - inside the container

    def exec_run(self, cmd: Sequence[str], *, demux: bool) -> tuple[int | None, tuple[bytes | None, bytes | None]]:
        assert demux
        here = [part.replace("/tmp/", f"{self.folder}/") for part in cmd]  # noqa: S108 - inside the container
        tool = [str(self.folder / "tool") if part.endswith("kafka-run-class.sh") else part for part in here]
        done = subprocess.run(tool, capture_output=True, check=False, timeout=30)
        # The docker SDK gives the shell's way of counting signals, and None for an empty stream.
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return code, (done.stdout or None, done.stderr or None)


class FakeContainer:
    def __init__(self, folder: Path, *, error: Exception | None = None) -> None:
        self.running = FakeRunningContainer(folder)
        self.calls: list[str] = []
        self._error = error

    def start(self) -> object:
        self.calls.append("start")
        if self._error:
            raise self._error
        return self

    def stop(self) -> None:
        self.calls.append("stop")

    def get_wrapped_container(self) -> FakeRunningContainer:
        return self.running

    def get_container_host_ip(self) -> str:
        return "docker.example"

    def get_exposed_port(self, port: int, /) -> int | str:
        assert port == 9092
        return "31092"


@pytest.fixture
def container(tmp_path: Path) -> FakeContainer:
    return FakeContainer(tmp_path)


@pytest.fixture
def kafka(container: FakeContainer) -> docker.DockerKafka:
    kafka = docker.DockerKafka(container)
    kafka.start()
    return kafka


def write_tool(container: FakeContainer, script: str) -> None:
    tool = container.running.folder / "tool"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)


def as_the_image_reads_it(variable: str) -> str:
    """Turn a variable into a setting, as the image's KafkaDockerWrapper does."""
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("_", ".").replace("...", "-").replace("..", "_")


@pytest.mark.parametrize("setting", ["node.id", "log.dirs", "a.name-with.a_bit.of-everything"])
def test_setting_passes_environment_unchanged(setting: str) -> None:
    assert as_the_image_reads_it(docker.variable(setting)) == setting


def test_callers_settings_win() -> None:
    environment = docker.environment({"num.io.threads": "2", "node.id": "7"})

    assert environment["KAFKA_NUM_IO_THREADS"] == "2"
    assert environment["KAFKA_NODE_ID"] == "7"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_broker_advertises_the_containers_address(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    advertised = container.running.folder / "advertised-listeners"

    assert kafka.address == "docker.example:31092"
    assert advertised.read_text() == "PLAINTEXT://docker.example:31092,INSIDE://localhost:19092"


def test_container_is_started_again(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    kafka.stop(30)
    assert not kafka.running()
    kafka.start()
    kafka.kill()
    kafka.kill()
    kafka.start()

    assert container.calls == ["start"]
    assert container.running.calls == ["stop 30", "start", "kill", "start"]


def test_closing_removes_the_container(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    kafka.close()

    assert container.calls == ["start", "stop"]
    assert not kafka.running()


def test_missing_container_is_no_kafka(tmp_path: Path) -> None:
    kafka = docker.DockerKafka(FakeContainer(tmp_path, error=RuntimeError("no such image")))

    with pytest.raises(KafkaUnavailableError, match="no such image"):
        kafka.start()


def test_tool_gets_arguments_and_input(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    write_tool(container, 'printf "%s\\n" "$@"; cat; echo oops >&2; exit 3')

    result = kafka.tool("org.example.Tool", ["--key", "with space"], b"line\n", 10)

    assert result.stdout == b"org.example.Tool\n--key\nwith space\nline\n"
    assert (result.code, result.stderr) == (3, b"oops\n")


def test_tool_may_have_no_input(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    write_tool(container, "cat")

    assert kafka.tool("org.example.Tool", [], None, 10).stdout == b""


def test_slow_tool_has_no_exit_code(kafka: docker.DockerKafka, container: FakeContainer) -> None:
    write_tool(container, "exec sleep 20")

    assert kafka.tool("org.example.Tool", [], None, 1).code is None


def no_client() -> None:
    """Stand in for testcontainers' client."""


def test_container_is_described_for_its_image(monkeypatch: pytest.MonkeyPatch) -> None:
    containers = pytest.importorskip("testcontainers.core.container")
    monkeypatch.setattr(containers, "DockerClient", no_client)  # it would look for the engine

    made = docker.make_container({})

    assert getattr(made, "image", "").endswith(docker.IMAGE)
    assert list(getattr(made, "ports", ())) == ["9092"]
    assert getattr(made, "_command", None) == ["sh", "-c", docker.START]
    assert getattr(made, "env", {})["KAFKA_PROCESS_ROLES"] == "broker,controller"
