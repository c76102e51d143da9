"""Two requests of the Kafka protocol, spoken by hand: no JVM need start to ask a broker a simple thing.

1. Metadata (version 4) tells whether the broker is ready, under which address, and who leads which partition.
2. CreateTopics (version 4) creates many topics in one request, in milliseconds.
3. Both versions are plain structs, older than the compact encoding, and spoken by every Kafka 2.0 to 4.x.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Metadata", "TopicFailure", "create_topics", "metadata"]

_METADATA: Final = 3
_CREATE_TOPICS: Final = 19
_VERSION: Final = 4

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the broker says of itself.

    Attributes:
        brokers: Advertised ``host:port`` of every broker that serves clients; a starting one is missing.
        leaders: For each topic asked for and found, the leader of each partition; -1 is none yet.
    """

    brokers: tuple[str, ...]
    leaders: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TopicFailure:
    """A topic that was not created, and the broker's reason."""

    name: str
    code: int
    reason: str

    def __str__(self) -> str:
        return f"topic {self.name}: {self.reason} (error {self.code})"


def metadata(address: str, topics: Iterable[str] = (), *, timeout: float = 5.0) -> Metadata:
    """Ask one broker for the cluster's brokers and the leaders of `topics`; no topic is created by asking.

    Args:
        address: ``host:port``.
        topics: Topics of interest.
        timeout: Seconds for connecting and for each read.

    Raises:
        OSError: The broker cannot be reached or went away.
    """
    body = _array([_string(topic) for topic in topics]) + struct.pack(">?", False)
    answer = _exchange(address, _METADATA, body, timeout)
    answer.integer(">i")  # throttle time
    brokers = answer.array(lambda: _read_broker(answer))
    answer.string()  # cluster id
    answer.integer(">i")  # controller
    found = answer.array(lambda: _read_topic(answer))
    return Metadata(tuple(brokers), {name: leaders for code, name, leaders in found if code == 0})


def create_topics(
    address: str,
    names: Iterable[str],
    *,
    partitions: int,
    configs: Mapping[str, str],
    timeout: float = 30.0,
) -> list[TopicFailure]:
    """Create topics with one replica and return those that failed.

    Args:
        address: ``host:port``.
        names: Topics to create.
        partitions: Partitions of each.
        configs: Topic-level settings of each.
        timeout: Seconds that the broker may take.

    Raises:
        OSError: The broker cannot be reached or went away.
    """
    topics = [_new_topic(name, partitions, configs) for name in names]
    body = _array(topics) + struct.pack(">i?", int(timeout * 1000), False)
    answer = _exchange(address, _CREATE_TOPICS, body, timeout + 5.0)
    answer.integer(">i")  # throttle time
    results = answer.array(lambda: TopicFailure(answer.string(), answer.integer(">h"), answer.string()))
    return [result for result in results if result.code != 0]


def _new_topic(name: str, partitions: int, configs: Mapping[str, str]) -> bytes:
    no_assignments = _array([])
    settings = [_string(key) + _string(value) for key, value in configs.items()]
    return _string(name) + struct.pack(">ih", partitions, 1) + no_assignments + _array(settings)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _array(items: Sequence[bytes]) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)


def _exchange(address: str, api: int, body: bytes, timeout: float) -> _Answer:
    host, _, port = address.rpartition(":")
    request = struct.pack(">hhi", api, _VERSION, 0) + _string("eventzr-kafka-testing") + body
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        return _Answer(_receive(connection, size), at=4)  # after the correlation id


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the broker closed the connection in the middle of an answer")
        data += chunk
    return bytes(data)


@dataclass(slots=True)
class _Answer:
    data: bytes
    at: int

    def integer(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return int(value)

    def string(self) -> str:
        """Read a string; null reads as empty."""
        size = max(0, self.integer(">h"))
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def array(self, read: Callable[[], ItemT]) -> list[ItemT]:
        return [read() for _ in range(self.integer(">i"))]


def _read_broker(answer: _Answer) -> str:
    answer.integer(">i")  # node id
    host, port = answer.string(), answer.integer(">i")
    answer.string()  # rack
    return f"{host}:{port}"


def _read_topic(answer: _Answer) -> tuple[int, str, tuple[int, ...]]:
    code, name = answer.integer(">h"), answer.string()
    answer.integer(">?")  # internal
    partitions = answer.array(lambda: _read_partition(answer))
    return code, name, tuple(leader for _, leader in sorted(partitions))


def _read_partition(answer: _Answer) -> tuple[int, int]:
    answer.integer(">h")  # error, which a leader of -1 tells too
    partition, leader = answer.integer(">i"), answer.integer(">i")
    answer.array(lambda: answer.integer(">i"))  # replicas
    answer.array(lambda: answer.integer(">i"))  # in sync
    return partition, leader
