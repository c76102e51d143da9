"""Version, settings, errors and Protocol that all launchers of a real Kafka share."""

from __future__ import annotations

import os
import random
import socket
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from eventzr_kafka.errors import EventzrKafkaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "KAFKA_VERSION",
    "KafkaBackend",
    "KafkaLauncher",
    "KafkaServerError",
    "KafkaStartError",
    "KafkaToolError",
    "KafkaUnavailableError",
    "ToolResult",
    "broker_jvm",
    "broker_properties",
    "free_ports",
    "last_lines",
    "new_cluster_id",
]

KAFKA_VERSION: Final = "4.3.1"
"""The one version that tests run against, as jars and as an image."""


class KafkaServerError(EventzrKafkaError):
    """The real Kafka for tests could not do what the caller asked for."""


class KafkaUnavailableError(KafkaServerError):
    """This machine cannot run a real Kafka: it has neither Docker nor a JDK, or cannot download Kafka."""


class KafkaStartError(KafkaServerError):
    """A real Kafka was started and did not come up; the text ends with the last lines of its log."""


class KafkaToolError(KafkaServerError):
    """A console tool failed or took too long.

    Attributes:
        main_class: The Java class that ran.
        code: Its exit code; None after a time-out.
        stderr: Its standard error.
    """

    def __init__(self, main_class: str, code: int | None, problem: str, stderr: bytes) -> None:
        self.main_class = main_class
        self.code = code
        self.stderr = stderr
        super().__init__(f"{main_class}: {problem}\n{last_lines(stderr)}".rstrip())


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Output and exit code of a console tool; `code` is None when it was stopped at its deadline."""

    code: int | None
    stdout: bytes
    stderr: bytes


class KafkaBackend(Protocol):
    """One broker: it can be started, ended and started again with the same address and data."""

    @property
    def description(self) -> str:
        """Version of Kafka and how it runs, for messages."""
        ...

    @property
    def address(self) -> str:
        """``host:port`` for clients on this machine; known after the first `start`."""
        ...

    @property
    def tool_address(self) -> str:
        """``host:port`` for the console tools, which may run next to the broker."""
        ...

    def start(self) -> None:
        """Start the broker and return before it is ready."""
        ...

    def running(self) -> bool:
        """Return True while the broker's process exists, ready or not."""
        ...

    def stop(self, timeout: float) -> None:
        """Shut the broker down, or kill it after `timeout` seconds; the data stays."""
        ...

    def kill(self) -> None:
        """Kill the broker (SIGKILL); the data stays as it is."""
        ...

    def log(self) -> bytes:
        """Return the end of the broker's log, at least its last lines."""
        ...

    def tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        """Run one of Kafka's Java console tools."""
        ...

    def close(self) -> None:
        """Kill the broker and remove its data."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaLauncher:
    """Makes brokers with one of the tools that this machine has: Docker, or a JDK.

    Attributes:
        description: Version of Kafka and how it would run, for messages.
        make: Downloads what the broker needs, if it is not there, and returns the broker, not yet started. Takes the
            server settings that are added to `broker_properties`.
    """

    description: str
    make: Callable[[Mapping[str, str]], KafkaBackend]


def broker_properties(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the server settings that hold for every launcher; `extra` wins."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(16 * 1024 * 1024),
        **_ONE_BROKER,
        **_QUICK,
        **extra,
    }


def broker_jvm() -> str:
    """Return the flags of the broker's JVM; Kafka's own variable ``KAFKA_JVM_PERFORMANCE_OPTS`` wins.

    A broker in tests lives for minutes and idles: the quick compiler and the plain collector save 40 % of its CPU time.
    """
    return os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS") or "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


_ONE_BROKER: Final = {
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

_QUICK: Final = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # Tests may ask for short sessions; the defaults of a group that does not ask stay Kafka's own.
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    # After a SIGKILL the broker may register again only when its last session has run out; 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # 128 MiB of heap by default, for a cleaner that has nothing to do here.
    "log.cleaner.dedupe.buffer.size": str(2 * 1024 * 1024),
}


def last_lines(text: bytes, *, count: int = 30) -> str:
    """Return the last `count` lines, decoded as far as they can be."""
    return "\n".join(text.decode("utf-8", "replace").splitlines()[-count:])


def new_cluster_id() -> str:
    """Return a random cluster id, sixteen bytes in base64url as Kafka wants it; none begins with ``-``."""
    return "e" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def free_ports(count: int) -> list[int]:
    """Find free ports of this machine *below* the ephemeral range.

    A client that keeps retrying a stopped broker on an ephemeral port of its own machine is sooner or later
    given that very port as its own: it then connects to itself, and the broker cannot start again.
    """
    candidates = random.sample(range(15_000, 32_000), 200)
    return [port for port in candidates if _is_free(port)][:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
