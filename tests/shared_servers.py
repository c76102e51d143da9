"""One real Kafka and one real PostgreSQL for all processes of a test session, kept by pytest-xdist's controller.

The controller listens on a socket; the first worker that asks makes it start the server, which ends with it.
Workers create topics over Kafka's own protocol and leave console tools to the controller. They cannot end a server:
tests that do have one of their own.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Final

from tests.postgres import Databases, Postgres

from eventzr_kafka.testing._kafka_backend import ToolResult
from eventzr_kafka.testing.kafka_server import KafkaServer, KafkaServerError, start_kafka

__all__ = ["ServerKeeper", "shared_kafka", "shared_postgres"]

_KEY: Final = b"tests"
_SHARED: Final = "this broker is shared by all processes: ask for `own_kafka`"


class ServerKeeper:
    """The controller's side."""

    def __init__(self) -> None:
        """Listen; no server runs yet."""
        self._folder = tempfile.TemporaryDirectory(prefix="eventzr-tests-")
        self.address: Final = str(Path(self._folder.name, "servers"))
        self._listener = Listener(self.address, authkey=_KEY)
        self._lock = threading.Lock()
        self._server: KafkaServer | None = None
        self._error: Exception | None = None
        self._postgres_lock = threading.Lock()
        self._postgres: Postgres | None = None
        threading.Thread(target=self._accept, name="shared servers", daemon=True).start()

    def close(self) -> None:
        """End the servers."""
        self._listener.close()
        if self._server is not None:
            self._server.close()
        if self._postgres is not None:
            self._postgres.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                link = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=[link], daemon=True).start()

    def _answer(self, link: Connection[Any, Any]) -> None:
        method, arguments = link.recv()
        try:
            link.send(getattr(self, f"_do_{method}")(*arguments))
        except Exception as error:  # noqa: BLE001 -- it is the asking process's
            link.send(error)
        finally:
            link.close()

    def _do_start(self) -> tuple[str, str, str]:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._server is None:
                try:
                    self._server = start_kafka()
                except Exception as error:
                    self._error = error
                    raise
            backend = self._server._backend
            return backend.description, backend.address, backend.tool_address

    def _do_postgres(self) -> int:
        with self._postgres_lock:
            if self._postgres is None:
                self._postgres = Postgres()
                self._postgres.start()
            return self._postgres.port

    def _do_log(self) -> bytes:
        assert self._server is not None
        return self._server._backend.log()

    def _do_tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        assert self._server is not None
        return self._server._backend.tool(main_class, args, stdin, timeout)


def shared_kafka(address: str) -> KafkaServer:
    """The shared broker, started if this is the first process that asks.

    Raises:
        KafkaUnavailableError: None can be had.
        KafkaStartError: It did not come up.
    """
    return KafkaServer(_SharedKafka(address))


def shared_postgres(address: str) -> Databases:
    """The shared PostgreSQL, started if this is the first process that asks."""
    return Databases(_ask(address, "postgres"))


def _ask(keeper: str, method: str, *arguments: object) -> Any:
    with Client(keeper, authkey=_KEY) as link:
        link.send((method, arguments))
        answer = link.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


class _SharedKafka:
    """A worker's side; a `KafkaBackend`."""

    def __init__(self, keeper: str) -> None:
        self._keeper = keeper
        self.description, self.address, self.tool_address = _ask(keeper, "start")

    def start(self) -> None: ...

    def running(self) -> bool:
        return True

    def stop(self, timeout: float) -> None:  # noqa: ARG002
        raise KafkaServerError(_SHARED)

    def kill(self) -> None:
        raise KafkaServerError(_SHARED)

    def log(self) -> bytes:
        answer: bytes = _ask(self._keeper, "log")
        return answer

    def tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        answer: ToolResult = _ask(self._keeper, "tool", main_class, args, stdin, timeout)
        return answer

    def close(self) -> None: ...
