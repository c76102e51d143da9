"""A real Kafka from its jars: Maven downloads them once, the local JDK runs them.

1. The jars are in ``$XDG_CACHE_HOME`` (or ``~/.cache``) under ``eventzr-kafka/kafka-<version>/libs``. They are moved
   there by one rename, so that the folder is complete, however many sessions start at once.
2. The broker is a process of its own session, with its data in a temporary directory. It is ended by its pid. A guard
   process ends it when the test process dies without having done so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eventzr_kafka.testing._kafka_backend import (
    KAFKA_VERSION,
    KafkaLauncher,
    KafkaStartError,
    KafkaUnavailableError,
    ToolResult,
    broker_jvm,
    broker_properties,
    free_ports,
    last_lines,
    new_cluster_id,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

__all__ = ["JarsKafka", "cache_folder", "find_jars", "find_java", "libs_folder", "resolve_libs"]

_LEAST_JDK: Final = 17
_HOST: Final = "127.0.0.1"

_DOWNLOAD_SECONDS: Final = 900
_FORMAT_SECONDS: Final = 60

# slf4j-simple writes to standard error, so that one file holds the log and the messages of the JVM itself.
_SLF4J_SIMPLE: Final = "1.7.36"

_SERVER_JVM: Final = ("-Xms256m", "-Xmx1g", "-Djava.awt.headless=true", "-XX:+ExitOnOutOfMemoryError")
_SERVER_LOG: Final = (
    "-Dorg.slf4j.simpleLogger.log.state.change.logger=warn",  # else a line for each partition at each start
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
# A tool lives for a second or two, and less with the plain collector and the quick compiler.
_TOOL_JVM: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
_TOOL_LOG: Final = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)

# Reads until the test process is gone, for whatever reason, and then removes the broker and its data.
_GUARD: Final = 'read -r _; kill -9 "$1" 2>/dev/null; rm -rf "$2"'


def find_jars() -> KafkaLauncher:
    """Return the launcher that runs the jars; downloads and starts nothing.

    Raises:
        KafkaUnavailableError: No JDK that is new enough, or neither the jars nor a Maven to get them.
    """
    if os.name != "posix":
        raise KafkaUnavailableError("the jars of Kafka run on POSIX systems only")
    java, major = find_java()
    if not libs_folder().is_dir() and shutil.which("mvn") is None:
        raise KafkaUnavailableError("no Maven (mvn) to download the jars of Kafka")
    description = f"Apache Kafka {KAFKA_VERSION} (jars, JDK {major})"

    def make(extra: Mapping[str, str]) -> JarsKafka:
        port, controller_port = free_ports(2)
        return JarsKafka(
            java=java,
            classpath=[resolve_libs() / "*"],
            ports=(port, controller_port),
            description=description,
            extra=extra,
        )

    return KafkaLauncher(description, make)


def find_java() -> tuple[str, int]:
    """Return the path of a JDK's ``java`` and its major version.

    Raises:
        KafkaUnavailableError: No JDK is new enough.
    """
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home, "bin", "java"))] if home else []
    for java in [*candidates, shutil.which("java") or ""]:
        major = _java_major(java) if java else 0
        if major >= _LEAST_JDK:
            return java, major
    raise KafkaUnavailableError(f"no JDK {_LEAST_JDK} or newer")


def _java_major(java: str) -> int:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, timeout=20, check=False)  # noqa: S603 - the JDK
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # `openjdk version "17.0.15"`, and `java version "1.8.0_412"` for those that are too old anyway
    version = re.search(rb'version "(\d+)', answer.stderr)
    return int(version[1]) if answer.returncode == 0 and version else 0


def cache_folder() -> Path:
    """Return the folder of this package in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "eventzr-kafka"


def libs_folder() -> Path:
    """Return the folder of this version's jars, which may not exist yet."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}" / "libs"


def resolve_libs() -> Path:
    """Return the folder with the jars; Maven downloads them if this is the first time.

    Raises:
        KafkaUnavailableError: Maven could not download them, or they could not be written.
    """
    libs = libs_folder()
    if libs.is_dir():
        return libs
    try:
        with _locked(cache_folder() / f"kafka-{KAFKA_VERSION}.lock"):
            if not libs.is_dir():
                _download(libs.parent)
    except OSError as error:
        raise KafkaUnavailableError(f"the jars of Kafka cannot be written to {cache_folder()}: {error}") from error
    return libs


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    import fcntl  # noqa: PLC0415 - does not exist everywhere, and is not needed for Docker

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, or when its process dies
        yield


def _download(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as scratch:
        _run_maven(Path(scratch))
        Path(scratch, "kafka").rename(target)


def _run_maven(folder: Path) -> None:
    folder.joinpath("pom.xml").write_text(_pom(), encoding="utf-8")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder / 'kafka' / 'libs'}"]
    command = ["mvn", "-B", "-q", "-f", str(folder / "pom.xml"), *goal]
    try:
        subprocess.run(command, capture_output=True, timeout=_DOWNLOAD_SECONDS, check=True)  # noqa: S603 - Maven
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailableError(f"Maven did not download the jars of Kafka within {_DOWNLOAD_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        output: bytes = error.stdout + error.stderr
        shown = last_lines(output, count=8)
        raise KafkaUnavailableError(f"Maven could not download the jars of Kafka:\n{shown}") from error


def _pom() -> str:
    artifacts = (
        ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
        ("org.slf4j", "slf4j-simple", _SLF4J_SIMPLE),
    )
    this = "<modelVersion>4.0.0</modelVersion>" + _coordinates("eventzr", "kafka-for-tests", "1")
    dependencies = "".join(f"<dependency>{_coordinates(*artifact)}</dependency>" for artifact in artifacts)
    return f"<project>{this}<dependencies>{dependencies}</dependencies></project>"


def _coordinates(group: str, artifact: str, version: str) -> str:
    return f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"


class JarsKafka:
    """One broker and controller in one JVM of this machine."""

    def __init__(
        self,
        *,
        java: str,
        classpath: Sequence[Path],
        ports: tuple[int, int],
        description: str,
        extra: Mapping[str, str],
    ) -> None:
        """Write the configuration; starts nothing.

        Args:
            ports: Of the broker's plain listener, and of the controller.
            extra: Server settings that are added to those for tests.
        """
        self.description: Final = description
        self._java = (java, "-cp", os.pathsep.join(map(str, classpath)))
        self._folder = Path(tempfile.mkdtemp(prefix="eventzr-kafka-"))
        self._log = self._folder / "server.log"
        self._config = self._folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.address: Final = f"{_HOST}:{ports[0]}"
        self._write_config(f"{_HOST}:{ports[1]}", extra)

    @property
    def tool_address(self) -> str:
        return self.address

    def _write_config(self, controller: str, extra: Mapping[str, str]) -> None:
        properties = broker_properties(
            {
                "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
                "advertised.listeners": f"PLAINTEXT://{self.address}",
                "controller.quorum.bootstrap.servers": controller,
                "log.dirs": str(self._folder / "data"),
                **extra,
            },
        )
        lines = "".join(f"{key}={value}\n" for key, value in properties.items())
        self._config.write_text(lines, encoding="utf-8")

    def start(self) -> None:
        if not (self._folder / "data").exists():
            self._format_storage()
        command = [*self._java, *_SERVER_JVM, *broker_jvm().split(), *_SERVER_LOG, "kafka.Kafka", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the JDK
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the interrupt key is for the tests, which end the broker themselves
            )
        self._guard = _start_guard(self._process.pid, self._folder)

    def _format_storage(self) -> None:
        args = ["format", "--cluster-id", new_cluster_id(), "--config", str(self._config), "--standalone"]
        result = self.tool("kafka.tools.StorageTool", args, None, _FORMAT_SECONDS)
        if result.code != 0:
            shown = last_lines(result.stdout + result.stderr)
            raise KafkaStartError(f"the data directory of Kafka could not be formatted:\n{shown}")

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout: float) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        # The guard goes first: once the broker has been waited for, its pid may belong to another process.
        for process in (self._guard, self._process):
            if process is not None:
                process.kill()
                process.communicate()
        self._guard = self._process = None

    def log(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def tool(self, main_class: str, args: Sequence[str], stdin: bytes | None, timeout: float) -> ToolResult:
        command = [*self._java, *_TOOL_JVM, *_TOOL_LOG, main_class, *args]
        try:
            done = subprocess.run(  # noqa: S603 - the JDK
                command,
                input=stdin or b"",
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return ToolResult(None, error.stdout or b"", error.stderr or b"")
        return ToolResult(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _start_guard(pid: int, folder: Path) -> subprocess.Popen[bytes]:
    command = ["/bin/sh", "-c", _GUARD, "eventzr-kafka-guard", str(pid), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - a constant script
