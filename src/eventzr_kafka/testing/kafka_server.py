"""A real Apache Kafka for tests: one broker, KRaft, replication factor 1, in Docker or on the local JDK.

::

    with start_kafka() as kafka:
        kafka.create_topic("orders", partitions=6)
        run_the_test_against(kafka.bootstrap_servers)

Where a Docker engine answers, Kafka runs from its image, else from its jars on the local JDK. Both behave alike:
`stop`, `kill` and `start` keep the address and the data, `close` removes everything.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

from eventzr_kafka._confluent.admin import ConfluentAdmin
from eventzr_kafka.clock import SYSTEM_CLOCK
from eventzr_kafka.errors import AdminError
from eventzr_kafka.kafka.topics import TopicSpec
from eventzr_kafka.settings import KafkaSettings
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
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from eventzr_kafka.testing._kafka_backend import KafkaBackend, KafkaLauncher

__all__ = [
    "KAFKA_VERSION",
    "KafkaServer",
    "KafkaServerError",
    "KafkaStartError",
    "KafkaToolError",
    "KafkaUnavailableError",
    "describe_kafka",
    "start_kafka",
    "unavailable_reason",
]

_log = logging.getLogger(__name__)

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_TOPIC_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.05


def unavailable_reason() -> str | None:
    """Return in a few words why this machine cannot run a real Kafka, or None if it can; starts nothing."""
    launchers, reasons = _find_launchers()
    return None if launchers else ", ".join(reasons)


def describe_kafka() -> str | None:
    """Describe the Kafka that `start_kafka` will try first, or return None if there is none; starts nothing."""
    launchers, _ = _find_launchers()
    return launchers[0].description if launchers else None


def start_kafka(*, properties: Mapping[str, str] | None = None) -> KafkaServer:
    """Start a real Kafka and return it once it serves clients.

    The first start on a machine downloads Kafka (54 MB of jars, or the image); later ones take a few seconds.

    Args:
        properties: Server settings that are added to those for tests, for example ``{"broker.rack": "a"}``.

    Raises:
        KafkaUnavailableError: This machine cannot run one; the text names what Docker and the jars lack.
        KafkaStartError: The broker did not come up; the text ends with the last lines of its log.
    """
    launchers, reasons = _find_launchers()
    for launcher in launchers:
        try:
            return KafkaServer(launcher.make(properties or {}))
        except KafkaUnavailableError as error:
            _log.warning("no %s: %s", launcher.description, error)
            reasons.append(str(error))
    raise KafkaUnavailableError("no real Kafka: " + ", ".join(reasons))


def _find_launchers() -> tuple[list[KafkaLauncher], list[str]]:
    """Return the launchers that work here, best first, and why the others do not."""
    launchers: list[KafkaLauncher] = []
    reasons: list[str] = []
    for find in (find_docker, find_jars):
        try:
            launchers.append(find())
        except KafkaUnavailableError as error:
            reasons.append(str(error))
    return launchers, reasons


class KafkaServer:
    """One running broker; a context manager that ends it and removes its data.

    Attributes:
        description: Version of Kafka and how it runs, for example ``Apache Kafka 4.3.1 (jars, JDK 17)``.
    """

    def __init__(self, backend: KafkaBackend) -> None:
        """Start `backend`; `start_kafka` chooses one.

        Raises:
            KafkaStartError: The broker does not serve clients within a minute.
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
        """True while the broker's process exists."""
        return self._backend.running()

    def start(self) -> None:
        """Start the broker again on the same port with the same data; does nothing if it runs.

        Raises:
            KafkaServerError: It is closed.
            KafkaStartError: The broker does not serve clients within a minute.
        """
        if self._closed:
            raise KafkaServerError("this Kafka is closed and its data is removed: start another one")
        if not self._backend.running():
            self._backend.start()
        self._await("serve clients", self._is_ready, _START_SECONDS)

    def stop(self, *, timeout: float = _STOP_SECONDS) -> None:
        """Shut the broker down, or kill it after `timeout` seconds; address and data stay."""
        self._backend.stop(timeout)

    def kill(self) -> None:
        """Kill the broker with SIGKILL, as a crash would; address and data stay."""
        self._backend.kill()

    def restart(self) -> None:
        """Call `stop` and `start`.

        Raises:
            KafkaStartError: The broker does not serve clients again within a minute.
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
        """Create topics in one request, and return once every partition has a leader.

        Args:
            names: New topics.
            partitions: Partitions of each.
            configs: Topic-level settings of each, for example ``{"retention.ms": "60000"}``.

        Raises:
            KafkaServerError: The broker refused some, for example because they exist; the others are created.
        """
        specs = [TopicSpec(name, partitions, configs or {}) for name in names]
        admin = self._admin(_TOPIC_SECONDS)
        try:
            admin.create(specs)
        except AdminError as error:
            raise KafkaServerError(str(error)) from error
        self._await(
            "elect leaders", lambda: _have_leaders(admin.leaders([s.name for s in specs]), specs), _TOPIC_SECONDS
        )

    def tool(
        self,
        main_class: str,
        *args: str,
        stdin: bytes | None = None,
        timeout: float = 60.0,
        bootstrap: bool = True,
    ) -> bytes:
        """Run one of Kafka's Java console tools against this broker and return its standard output.

        Starting its JVM takes one to two seconds. The tool may run in the broker's container, where it does not see the
        files of this machine: pass their content through `stdin`.

        Args:
            main_class: For example ``org.apache.kafka.tools.ConsoleProducer``.
            args: Arguments of the tool.
            stdin: Its standard input; None is empty.
            timeout: Seconds after which it is killed.
            bootstrap: Add ``--bootstrap-server`` with the broker's address as the tool sees it.

        Raises:
            KafkaToolError: Its exit code was not 0, or it took too long.
        """
        server = ("--bootstrap-server", self._backend.tool_address) if bootstrap else ()
        result = self._backend.tool(main_class, [*server, *args], stdin, timeout)
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

    def _admin(self, timeout: float) -> ConfluentAdmin:
        return ConfluentAdmin(KafkaSettings(brokers=self.bootstrap_servers), timeout=timeout)

    def _is_ready(self) -> bool:
        host, _, port = self.bootstrap_servers.rpartition(":")
        with socket.create_connection((host, int(port)), _ANSWER_SECONDS):
            pass  # a client that is refused tries again ever more seldom: ask it only once the port is open
        # The port is open before the broker may lead partitions; it lists itself only from then on. A new client each
        # time: one that was given an empty list of brokers never asks again.
        return self.bootstrap_servers in self._admin(_ANSWER_SECONDS).brokers()

    def _await(self, goal: str, condition: Callable[[], bool], timeout: float) -> None:
        deadline = SYSTEM_CLOCK.monotonic() + timeout
        while SYSTEM_CLOCK.monotonic() < deadline:
            with contextlib.suppress(OSError, AdminError):
                if condition():
                    return
            if not self._backend.running():
                raise KafkaStartError(f"{self.description} ended by itself:\n{self.log()}")
            SYSTEM_CLOCK.block(_RETRY_SECONDS)
        raise KafkaStartError(f"{self.description} did not {goal} within {timeout:g} s:\n{self.log()}")


def _have_leaders(leaders: Mapping[str, Sequence[int]], specs: Iterable[TopicSpec]) -> bool:
    return all(len(leaders.get(s.name, ())) == s.partitions and min(leaders[s.name]) >= 0 for s in specs)
