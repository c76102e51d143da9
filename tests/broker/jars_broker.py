"""Brokers from Kafka's jars with listeners and classes of the tests' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from eventzr_kafka.testing._kafka_backend import free_ports
from eventzr_kafka.testing._kafka_jars import JarsKafka, find_java, resolve_libs

__all__ = ["jars_kafka"]


def jars_kafka(
    *,
    properties: Mapping[str, str],
    listeners: Sequence[str],
    advertised: Sequence[str] | None = None,
    classpath: Sequence[Path] = (),
) -> JarsKafka:
    """Make a broker with more than one listener, or with classes of one's own; for `KafkaServer`.

    Args:
        properties: Server settings that are added to those for tests.
        listeners: Besides the plain one, each such as ``SASL_SSL://127.0.0.1:29093``.
        advertised: The same listeners with the addresses that the broker names to its clients, if they differ.
        classpath: Folders of classes that the settings name.

    Raises:
        KafkaUnavailableError: No JDK is new enough, or the jars cannot be downloaded.
    """
    java, major = find_java()
    port, controller_port = free_ports(2)
    plain = f"PLAINTEXT://127.0.0.1:{port}"
    return JarsKafka(
        java=java,
        classpath=[resolve_libs() / "*", *classpath],  # the order that the archive of classes was made with
        ports=(port, controller_port),
        description=f"Apache Kafka with listeners of its own (jars, JDK {major})",
        extra={
            "listeners": ",".join([plain, *listeners, f"CONTROLLER://127.0.0.1:{controller_port}"]),
            "advertised.listeners": ",".join([plain, *(advertised or listeners)]),
            **properties,
        },
    )
