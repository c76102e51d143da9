"""What every way of running a real Kafka has in common: version, settings, errors, Protocol."""

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
    "KafkaServerError",
    "KafkaStartError",
    "KafkaToolError",
    "KafkaUnavailableError",
    "KafkaWay",
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
    """The real Kafka for tests could not do what was asked."""


class KafkaUnavailableError(KafkaServerError):
    """No real Kafka can be had on this machine: nothing to run it on, or nowhere to get it from."""


class KafkaStartError(KafkaServerError):
    """A real Kafka was there and did not come up; the text ends with the last lines of its log."""


class KafkaToolError(KafkaServerError):
    """A console tool failed or took too long.

    Attributes:
        main_class: The Java class that ran.
        code: Its exit code; None after a time-out.
        stderr: What it wrote to standard error.
    """

    def __init__(self, main_class: str, code: int | None, problem: str, stderr: bytes) -> None:
        self.main_class = main_class
        self.code = code
        self.stderr = stderr
        super().__init__(f"{main_class}: {problem}\n{last_lines(stderr)}".rstrip())


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a console tool ended; `code` is None when it was stopped at its deadline."""

    code: int | None
    stdout: bytes
    stderr: bytes


class KafkaBackend(Protocol):
    """One broker, somewhere: started, ended and started again with the same address and data."""

    @property
    def description(self) -> str:
        """Version and way of running, for people."""
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
        """Say whether the broker's process is there, ready or not."""
        ...

    def stop(self, timeout: float) -> None:
        """End the broker in an orderly way, or by force after `timeout` seconds; the data stays."""
        ...

    def kill(self) -> None:
        """End the broker at once (SIGKILL); the data stays as it is."""
        ...

    def log(self) -> bytes:
        """The end of the broker's log, at least its last lines."""
        ...

    def tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        """Run one of Kafka's Java console tools."""
        ...

    def close(self) -> None:
        """End the broker at once and remove its data."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaWay:
    """A way of running a real Kafka that this machine has.

    Attributes:
        description: What it would run, for people.
        make: Gets everything that the broker needs (this may download), and returns it not yet started;
            takes the server settings that go beyond `broker_properties`.
    """

    description: str
    make: Callable[[Mapping[str, str]], KafkaBackend]


def broker_properties(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the server settings that do not depend on how the broker runs; `extra` wins."""
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

    A client that tries again and again to reach a stopped broker on an ephemeral port of its own machine is
    given that very port for itself sooner or later: it connects to itself, and the broker cannot come back.
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
