"""An archive of Kafka's classes as the JVM has them in memory: with it a broker comes up with half the CPU time.

`make test` makes it once a machine, beside the jars. A JVM that it does not suit takes no notice of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from eventzr_kafka.testing._kafka_backend import broker_jvm
from eventzr_kafka.testing._kafka_jars import find_jars, libs_folder
from eventzr_kafka.testing.kafka_server import KafkaServer

__all__ = ["archive", "make_archive", "use_archive"]

_FLAGS: Final = "KAFKA_JVM_PERFORMANCE_OPTS"
_SECONDS: Final = 120.0


def archive() -> Path:
    """Where the archive is, or will be."""
    return libs_folder().with_name("classes.jsa")


def use_archive() -> None:
    """Have the brokers that this process and its children start read the archive, if it was made."""
    if archive().exists() and _FLAGS not in os.environ:
        os.environ[_FLAGS] = f"{broker_jvm()} -XX:SharedArchiveFile={archive()} -Xshare:auto -Xlog:cds=off"


def make_archive() -> None:
    """Run a broker that writes it at its end."""
    written = archive().with_suffix(f".{os.getpid()}")
    before = os.environ.get(_FLAGS)
    os.environ[_FLAGS] = f"{broker_jvm()} -XX:ArchiveClassesAtExit={written}"
    try:
        with KafkaServer(find_jars().make({})) as server:
            server.create_topic("classes")
            server.stop(timeout=_SECONDS)
    finally:
        if before is None:
            del os.environ[_FLAGS]
        else:
            os.environ[_FLAGS] = before
    if written.exists():
        written.rename(archive())
