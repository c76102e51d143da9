"""Doubles of the client library's Consumer, Producer and Message, of which each call may raise.

They keep to what the SDK relies on: callbacks run inside `consume`, `poll` and `close`; positions move with what is
fetched; what is stored is committed at the next call and when the client closes; a callback that does not assign leaves
that to the client.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError
from confluent_kafka import TopicPartition as Offset

__all__ = ["Faults", "FaultyConsumer", "FaultyProducer", "Server"]

_HOP = 10  # messages of one call, so that there are several hops
_IDLE = 0.002  # seconds that a call with a time-out lasts when nothing is there


class Faults:
    """Raises in some calls of one method; counts the calls of all."""

    def __init__(
        self,
        method: str | None = None,
        calls: Container[int] = (),
        error: Callable[[], BaseException] = RuntimeError,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.method = method
        self._faulty = calls
        self._error = error

    def hit(self, method: str) -> None:
        self.calls[method] += 1
        if method == self.method and self.calls[method] in self._faulty:
            raise self._error()


class Server:
    """Records by topic and partition, and what one group has committed."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, list[Any]]]] = defaultdict(list)
        self.committed: dict[tuple[str, int], tuple[int, str]] = {}
        self.open_clients = 0
        self.faults = Faults()

    def make_client(self, kind: type[Any], config: dict[str, Any]) -> Any:
        """In place of `oauth.make_client`."""
        self.faults.hit("make_client")
        return FaultyConsumer(self, config) if kind is Consumer else FaultyProducer(self)


class FaultyMessage:
    """One record as the client hands it over."""

    def __init__(self, faults: Faults, topic: str, partition: int, offset: int, content: tuple[Any, Any, Any]) -> None:
        self._faults = faults
        self._place = topic, partition, offset
        self._content = content

    def error(self) -> KafkaError | None:
        self._faults.hit("message.error")
        return None

    def topic(self) -> str:
        self._faults.hit("message.topic")
        return self._place[0]

    def partition(self) -> int:
        self._faults.hit("message.partition")
        return self._place[1]

    def offset(self) -> int:
        self._faults.hit("message.offset")
        return self._place[2]

    def key(self) -> Any:
        self._faults.hit("message.key")
        return self._content[0]

    def value(self) -> Any:
        self._faults.hit("message.value")
        return self._content[1]

    def headers(self) -> Any:
        self._faults.hit("message.headers")
        return self._content[2] or None

    def timestamp(self) -> tuple[int, int]:
        self._faults.hit("message.timestamp")
        return (1, 1_000)


class FaultyConsumer:
    """The only member of its group."""

    def __init__(self, server: Server, config: dict[str, Any]) -> None:
        server.open_clients += 1
        self._server = server
        self._faults = server.faults
        self._callbacks: dict[str, Callable[..., None]] = {k: v for k, v in config.items() if k == "on_commit"}
        self._topics: list[str] = []
        self._positions: dict[tuple[str, int], int] = {}
        self._begun: set[tuple[str, int]] = set()
        self._paused: set[tuple[str, int]] = set()
        self._stored: dict[tuple[str, int], tuple[int, str]] = {}
        self._joined = False

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        self._faults.hit("subscribe")
        self._topics = topics
        self._callbacks.update(callbacks)

    def consume(self, count: int, timeout: float) -> list[FaultyMessage]:
        self._faults.hit("consume")
        return self._fetch(count, timeout)

    def poll(self, timeout: float) -> FaultyMessage | None:
        self._faults.hit("poll")
        return next(iter(self._fetch(1, timeout)), None)

    def committed(self, partitions: list[Offset], timeout: float) -> list[Offset]:
        assert timeout > 0
        self._faults.hit("committed")
        found = [(p, self._server.committed.get((p.topic, p.partition), (OFFSET_INVALID, ""))) for p in partitions]
        return [Offset(p.topic, p.partition, offset, metadata=metadata) for p, (offset, metadata) in found]

    def incremental_assign(self, partitions: list[Offset]) -> None:
        self._faults.hit("incremental_assign")
        self._assign(partitions)

    def position(self, partitions: list[Offset]) -> list[Offset]:
        self._faults.hit("position")
        places = [(p.topic, p.partition) for p in partitions]
        return [Offset(*p, self._positions[p] if p in self._begun else OFFSET_INVALID) for p in places]

    def pause(self, partitions: list[Offset]) -> None:
        self._faults.hit("pause")
        self._paused |= {(p.topic, p.partition) for p in partitions}

    def resume(self, partitions: list[Offset]) -> None:
        self._faults.hit("resume")
        self._paused -= {(p.topic, p.partition) for p in partitions}

    def store_offsets(self, *, offsets: list[Offset]) -> None:
        self._faults.hit("store_offsets")
        self._stored.update({(p.topic, p.partition): (p.offset, p.metadata or "") for p in offsets})

    def commit(self, *, asynchronous: bool) -> None:
        assert asynchronous
        self._faults.hit("commit")

    def close(self) -> None:
        self._server.open_clients -= 1
        if self._positions:
            self._callbacks["on_revoke"](self, [Offset(*place) for place in self._positions])
        self._commit()
        self._positions = {}
        self._faults.hit("close")

    def _fetch(self, count: int, timeout: float) -> list[FaultyMessage]:
        if not self._joined:
            self._join()
        self._commit()
        found: list[FaultyMessage] = []
        for place in self._positions.keys() - self._paused:
            log = self._server.logs[place]
            while self._positions[place] < len(log) and len(found) < min(count, _HOP):
                offset = self._positions[place]
                found.append(FaultyMessage(self._faults, *place, offset, log[offset]))
                self._positions[place] += 1
                self._begun.add(place)
        if not found and timeout:
            time.sleep(_IDLE)
        return found

    def _join(self) -> None:
        self._joined = True
        partitions = [Offset(*place) for place in sorted(self._server.logs) if place[0] in self._topics]
        self._callbacks["on_assign"](self, partitions)
        if not self._positions:
            found = [(p, self._server.committed.get((p.topic, p.partition), (0, ""))[0]) for p in partitions]
            self._assign([Offset(p.topic, p.partition, offset) for p, offset in found])

    def _assign(self, partitions: list[Offset]) -> None:
        self._positions = {(p.topic, p.partition): max(p.offset, 0) for p in partitions}

    def _commit(self) -> None:
        stored, self._stored = self._stored, {}
        self._server.committed.update(stored)
        if stored:
            answers = [Offset(*place, offset, metadata=metadata) for place, (offset, metadata) in stored.items()]
            self._callbacks["on_commit"](None, answers)


class FaultyProducer:
    """Writes at once, and reports at the next `poll` or `flush`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._faults = server.faults
        self._lock = threading.Lock()
        self._reports: list[Callable[[], None]] = []

    def produce(self, topic: str, *, value: Any, key: Any, headers: Any, on_delivery: Callable[..., None]) -> None:
        self._faults.hit("producer.produce")
        log = self._server.logs[topic, 0]
        log.append((key, value, headers))
        message = FaultyMessage(self._faults, topic, 0, len(log) - 1, log[-1])
        with self._lock:
            self._reports.append(lambda: on_delivery(None, message))

    def poll(self, timeout: float) -> None:
        self._faults.hit("producer.poll")
        self._report()
        time.sleep(min(timeout, _IDLE))

    def flush(self, timeout: float) -> int:
        assert timeout >= 0
        self._faults.hit("producer.flush")
        self._report()
        return 0

    def purge(self) -> None:
        self._faults.hit("producer.purge")

    def close(self) -> None:
        self._faults.hit("producer.close")

    def __len__(self) -> int:
        return len(self._reports)

    def _report(self) -> None:
        with self._lock:
            reports, self._reports = self._reports, []
        for report in reports:
            report()
