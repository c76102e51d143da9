"""A real Kafka from its image, through testcontainers.

1. Clients outside of the container use a port of the host that this module chooses and binds: a port that Docker
   chooses changes when the container is started again.
2. The address to advertise depends on where Docker runs, and is known only once the container exists. So the
   container starts with a loop that waits for a file with that address. The file stays in the container, and the
   next start finds it.
3. The broker and the console tools inside the container use a second listener, on the container's own localhost.
"""

from __future__ import annotations

import gc
import io
import tarfile
import uuid
import warnings
from typing import TYPE_CHECKING, Final, Protocol, cast

from eventzr_kafka.testing._kafka_backend import (
    KAFKA_VERSION,
    KafkaLauncher,
    KafkaUnavailableError,
    ToolResult,
    broker_jvm,
    broker_properties,
    free_ports,
    new_cluster_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["IMAGE", "START", "DockerKafka", "environment", "find_docker", "make_container", "variable"]

IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
_DESCRIPTION: Final = f"Apache Kafka {KAFKA_VERSION} (docker)"
_PING_SECONDS: Final = 3
_PORT: Final = 9092
_INSIDE: Final = "localhost:19092"
_CONTROLLER: Final = "localhost:29093"
_LOG_LINES: Final = 200

_FOLDER: Final = "/tmp"  # noqa: S108 - inside the container, where it is the one place that any user may write to
_ADVERTISED: Final = f"{_FOLDER}/advertised-listeners"
START: Final = (
    f"while [ ! -s {_ADVERTISED} ]; do sleep 0.1; done; "
    f'export KAFKA_ADVERTISED_LISTENERS="$(cat {_ADVERTISED})"; '
    "exec /etc/kafka/docker/run"
)
_TOOL: Final = 'stdin="$1"; shift; exec timeout -s KILL "$@" <"$stdin"'
_KILLED: Final = 128 + 9


class RunningContainer(Protocol):
    """The methods used of the docker SDK's container."""

    @property
    def status(self) -> str: ...
    def reload(self) -> None: ...
    def start(self) -> None: ...
    def stop(self, *, timeout: int) -> None: ...
    def kill(self) -> None: ...
    def wait(self, *, timeout: float) -> object: ...
    def logs(self, *, tail: int) -> bytes: ...
    def put_archive(self, path: str, data: bytes) -> bool: ...
    def exec_run(self, cmd: Sequence[str], *, demux: bool) -> tuple[int | None, tuple[bytes | None, bytes | None]]: ...


class Engine(Protocol):
    """The methods used of the docker SDK's client."""

    def ping(self) -> bool: ...
    def close(self) -> None: ...


class Container(Protocol):
    """The methods used of testcontainers' container."""

    def start(self) -> object: ...
    def stop(self) -> None: ...
    def get_wrapped_container(self) -> RunningContainer: ...
    def get_container_host_ip(self) -> str: ...
    def get_exposed_port(self, port: int, /) -> int | str: ...


def find_docker() -> KafkaLauncher:
    """Return the launcher that runs the image, if a Docker engine answers; takes a few seconds at most.

    Raises:
        KafkaUnavailableError: No engine answers, or testcontainers is not installed.
    """
    with warnings.catch_warnings():
        # The docker SDK leaves the socket of a failed attempt to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        reason = _unavailable_reason()
        gc.collect()
    if reason:
        raise KafkaUnavailableError(reason)
    return KafkaLauncher(_DESCRIPTION, lambda extra: DockerKafka(make_container(extra)))


def _unavailable_reason() -> str | None:
    try:
        from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - optional, slow to import
    except ImportError:
        return "testcontainers is not installed"
    try:
        engine = cast("Engine", DockerClient(timeout=_PING_SECONDS).client)
        engine.ping()
        engine.close()
    except Exception:  # noqa: BLE001 - the docker SDK, requests, urllib3, ssh: each raises errors of its own
        return "no Docker engine"
    return None


def make_container(extra: Mapping[str, str]) -> Container:
    """Describe the container to testcontainers; starts nothing."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - optional, slow to import

    container = DockerContainer(IMAGE).with_bind_ports(_PORT, free_ports(1)[0])
    container = container.with_command(["sh", "-c", START])
    for name, value in environment(extra).items():
        container = container.with_env(name, value)
    return cast("Container", container)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the container's environment variables; settings in `extra` win."""
    properties = broker_properties(
        {
            "listeners": f"PLAINTEXT://0.0.0.0:{_PORT},INSIDE://{_INSIDE},CONTROLLER://{_CONTROLLER}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INSIDE",
            # Not controller.quorum.bootstrap.servers: the image formats its storage without --standalone.
            "controller.quorum.voters": f"1@{_CONTROLLER}",
            "log.dirs": "/var/lib/kafka/data",
            **extra,
        },
    )
    return {
        "CLUSTER_ID": new_cluster_id(),
        "KAFKA_HEAP_OPTS": "-Xmx1g",
        "KAFKA_JVM_PERFORMANCE_OPTS": broker_jvm(),
        **{variable(name): value for name, value in properties.items()},
    }


def variable(name: str) -> str:
    """Return the environment variable that the image turns back into the setting `name`."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()


class DockerKafka:
    """One broker and controller in one container."""

    def __init__(self, container: Container) -> None:
        self.description: Final = _DESCRIPTION
        self.tool_address: Final = _INSIDE
        self.address = ""
        self._container = container
        self._running: RunningContainer | None = None

    def start(self) -> None:
        if self._running is not None:
            self._running.start()
        else:
            self._first_start()

    def _first_start(self) -> None:
        try:
            self._container.start()
        except Exception as error:  # no image, no network, no reaper: the docker SDK raises many kinds of errors
            raise KafkaUnavailableError(f"the container of Kafka could not be started: {error}") from error
        self._running = self._container.get_wrapped_container()
        self.address = f"{self._container.get_container_host_ip()}:{self._container.get_exposed_port(_PORT)}"
        self._put(_ADVERTISED, f"PLAINTEXT://{self.address},INSIDE://{_INSIDE}".encode())

    def running(self) -> bool:
        if self._running is None:
            return False
        self._running.reload()
        return self._running.status == "running"

    def stop(self, timeout: float) -> None:
        if self._running is not None:
            self._running.stop(timeout=int(timeout))

    def kill(self) -> None:
        if self._running is not None and self.running():
            self._running.kill()
            self._running.wait(timeout=30)

    def log(self) -> bytes:
        return self._running.logs(tail=_LOG_LINES) if self._running is not None else b""

    def tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        if self._running is None:
            return ToolResult(1, b"", b"the container is not there yet")
        stdin_file = f"{_FOLDER}/stdin-{uuid.uuid4().hex}"
        self._put(stdin_file, stdin or b"")
        run = ["/opt/kafka/bin/kafka-run-class.sh", main_class, *args]
        command = ["sh", "-c", _TOOL, "sh", stdin_file, str(max(1, round(timeout))), *run]
        code, (stdout, stderr) = self._running.exec_run(command, demux=True)
        return ToolResult(None if code == _KILLED else code, stdout or b"", stderr or b"")

    def close(self) -> None:
        self._container.stop()
        self._running = None

    def _put(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        if self._running is not None:
            self._running.put_archive(folder, _tar(name, data))


def _tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
