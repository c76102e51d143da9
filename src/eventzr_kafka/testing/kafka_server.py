"""A real Apache Kafka for tests: one broker, KRaft, replication factor 1, on whatever can run it here.

::

    with start_kafka() as kafka:
        kafka.create_topic("orders", partitions=6)
        run_the_test_against(kafka.bootstrap_servers)

Where a Docker engine answers it runs from its image, else from its jars on the local JDK. Both behave alike:
`stop`, `kill` and `start` keep the address and the data, `close` removes everything.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from eventzr_kafka.testing import _kafka_wire as wire
from eventzr_kafka.testing._kafka_backend import (
    KAFKA_VERSION,
    KafkaServerError,
    KafkaStartError,
    KafkaToolError,
    KafkaUnavailableError,
    last_lines,
)
from eventzr_kafka.testing._kafka_docker import find_docker
from eventzr_kafka.testing._kafka_jars import find_jars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from eventzr_kafka.testing._kafka_backend import KafkaBackend, KafkaWay

__all__ = [
    "KAFKA_VERSION",
    "KafkaServer",
    "KafkaServerError",
    "KafkaStartError",
    "KafkaToolError",
    "KafkaUnavailableError",
    "expected_kafka",
    "start_kafka",
    "why_not",
]

_log = logging.getLogger(__name__)

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_TOPIC_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.05


def why_not() -> str | None:
    """Say in a few words why no real Kafka can be had on this machine, or None if one can; starts nothing."""
    found, reasons = _look_around()
    return None if found else ", ".join(reasons)


def expected_kafka() -> str | None:
    """Describe what `start_kafka` will try first, or None if there is nothing; starts nothing."""
    found, _ = _look_around()
    return found[0].description if found else None


def start_kafka(*, properties: Mapping[str, str] | None = None) -> KafkaServer:
    """Start a real Kafka and return it once it serves clients.

    The first start on a machine downloads Kafka (54 MB of jars, or the image); later ones take a few seconds.

    Args:
        properties: Server settings beyond those that suit tests, for example ``{"broker.rack": "a"}``.

    Raises:
        KafkaUnavailableError: None can be had here; the text names every way and what it lacks.
        KafkaStartError: One was there and did not come up; the text ends with the last lines of its log.
    """
    found, reasons = _look_around()
    for way in found:
        try:
            return KafkaServer(way.make(properties or {}))
        except KafkaUnavailableError as error:
            _log.warning("no %s: %s", way.description, error)
            reasons.append(str(error))
    raise KafkaUnavailableError("no real Kafka: " + ", ".join(reasons))


def _look_around() -> tuple[list[KafkaWay], list[str]]:
    """Find the ways of running Kafka here, best first, and what the others lack."""
    found: list[KafkaWay] = []
    lacks: list[str] = []
    for find in (find_docker, find_jars):
        try:
            found.append(find())
        except KafkaUnavailableError as error:
            lacks.append(str(error))
    return found, lacks


class KafkaServer:
    """One running broker; a context manager that ends it and removes its data.

    Attributes:
        description: Version and way of running, for example ``Apache Kafka 4.3.1 (jars, JDK 17)``.
    """

    def __init__(self, backend: KafkaBackend) -> None:
        """Start `backend`; use `start_kafka` to have one chosen.

        Raises:
            KafkaStartError: It does not serve clients within a minute.
        """
        self.description: Final = backend.description
        self._backend = backend
        self._owner = os.getpid()
        self._closed = False
        atexit.register(self.close)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients on this machine; stays the same over `stop`, `kill` and `start`."""
        return self._backend.address

    @property
    def running(self) -> bool:
        """Whether the broker's process is there."""
        return self._backend.running()

    def start(self) -> None:
        """Start the broker again on the same port with the same data; does nothing if it runs.

        Raises:
            KafkaServerError: It is closed.
            KafkaStartError: It does not serve clients within a minute.
        """
        if self._closed:
            raise KafkaServerError("this Kafka is closed and its data gone: start another one")
        if not self._backend.running():
            self._backend.start()
        self._await("serve clients", self._is_ready, _START_SECONDS)

    def stop(self, *, timeout: float = _STOP_SECONDS) -> None:
        """End the broker in an orderly way, or by force after `timeout` seconds; address and data stay."""
        self._backend.stop(timeout)

    def kill(self) -> None:
        """End the broker with SIGKILL, as a crash would; address and data stay."""
        self._backend.kill()

    def restart(self) -> None:
        """`stop` and `start`.

        Raises:
            KafkaStartError: It does not serve clients again within a minute.
        """
        self.stop()
        self.start()

    def close(self) -> None:
        """End the broker and remove its data; does nothing in a forked child, and nothing the second time."""
        if os.getpid() == self._owner and not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._backend.close()

    def log(self) -> str:
        """Return the last lines of the broker's log."""
        return last_lines(self._backend.log())

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 6,
        configs: Mapping[str, str] | None = None,
    ) -> None:
        """Create one topic; see `create_topics`."""
        self.create_topics([name], partitions=partitions, configs=configs)

    def create_topics(
        self,
        names: Iterable[str],
        *,
        partitions: int = 6,
        configs: Mapping[str, str] | None = None,
    ) -> None:
        """Create topics in one request, and return once every partition has a leader; takes milliseconds.

        Args:
            names: New topics.
            partitions: Partitions of each.
            configs: Topic-level settings of each, for example ``{"retention.ms": "60000"}``.

        Raises:
            KafkaServerError: The broker refused one, for example because it exists; the others are created.
        """
        wanted = list(names)
        address = self.bootstrap_servers
        failures = wire.create_topics(
            address, wanted, partitions=partitions, configs=configs or {}, timeout=_TOPIC_SECONDS
        )
        if failures:
            raise KafkaServerError("; ".join(str(failure) for failure in failures))
        self._await("elect leaders", lambda: self._led(wanted, partitions), _TOPIC_SECONDS)

    def tool(
        self,
        main_class: str,
        *args: str,
        stdin: bytes | None = None,
        timeout: float = 60.0,
        bootstrap: bool = True,
    ) -> bytes:
        """Run one of Kafka's Java console tools against this broker and return its standard output.

        Starting its JVM takes one to two seconds. It may run in the broker's container: a file that it is to
        read must come through `stdin`.

        Args:
            main_class: For example ``org.apache.kafka.tools.ConsoleProducer``.
            args: Arguments of the tool.
            stdin: What it reads; None is nothing.
            timeout: Seconds after which it is killed.
            bootstrap: Add ``--bootstrap-server`` with the address that is right where the tool runs.

        Raises:
            KafkaToolError: Its exit code was not 0, or it took too long.
        """
        where = ("--bootstrap-server", self._backend.tool_address) if bootstrap else ()
        result = self._backend.tool(main_class, [*where, *args], stdin, timeout)
        if result.code is None:
            raise KafkaToolError(main_class, None, f"took longer than {timeout:g} s", result.stderr)
        if result.code != 0:
            raise KafkaToolError(main_class, result.code, f"exit code {result.code}", result.stderr)
        return result.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_ready(self) -> bool:
        # The port is open before the broker may lead partitions; it lists itself only from then on.
        return self.bootstrap_servers in wire.metadata(self.bootstrap_servers).brokers

    def _led(self, topics: list[str], partitions: int) -> bool:
        leaders = wire.metadata(self.bootstrap_servers, topics).leaders
        return all(len(leaders.get(topic, ())) == partitions and min(leaders[topic]) >= 0 for topic in topics)

    def _await(self, what: str, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if not self._backend.running():
                raise KafkaStartError(f"{self.description} ended by itself:\n{self.log()}")
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise KafkaStartError(f"{self.description} did not {what} within {timeout:g} s:\n{self.log()}")
