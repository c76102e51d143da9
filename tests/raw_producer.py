"""Writes records that no Python client can write: header names of any bytes, through librdkafka's own C functions."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import confluent_kafka

_END, _TOPIC, _PARTITION, _VALUE, _KEY, _MSGFLAGS, _HEADERS = 0, 1, 3, 4, 5, 7, 10  # rd_kafka_vtype_t
_COPY, _BLOCK = 0x2, 0x4  # RD_KAFKA_MSG_F_*
_PRODUCER: Final = 0
_ANY_PARTITION: Final = -1


class RawProducer:
    """A librdkafka producer without Python's text in between; a context manager that flushes."""

    def __init__(self, brokers: str, **settings: str) -> None:
        (library,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
        self._lib = ctypes.CDLL(str(library))
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
            getattr(self._lib, name).restype = ctypes.c_void_p
        conf = ctypes.c_void_p(self._lib.rd_kafka_conf_new())
        error = ctypes.create_string_buffer(512)
        for key, value in {"bootstrap.servers": brokers, "partitioner": "murmur2_random", **settings}.items():
            assert self._lib.rd_kafka_conf_set(conf, key.encode(), value.encode(), error, 512) == 0, error.value
        self._client = ctypes.c_void_p(self._lib.rd_kafka_new(_PRODUCER, conf, error, 512))
        assert self._client.value, error.value

    def produce(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[bytes, bytes | None]] = (),
        partition: int = _ANY_PARTITION,
    ) -> None:
        """Queue one record; blocks while the queue is full."""
        added = ctypes.c_void_p(self._lib.rd_kafka_headers_new(ctypes.c_size_t(len(headers))))
        for name, content in headers:
            size = -1 if content is None else len(content)
            found = self._lib.rd_kafka_header_add(
                added, name, ctypes.c_ssize_t(len(name)), content, ctypes.c_ssize_t(size)
            )
            assert found == 0, found
        code: int = self._lib.rd_kafka_producev(
            self._client,
            *(ctypes.c_int(_TOPIC), topic.encode()),
            *(ctypes.c_int(_PARTITION), ctypes.c_int32(partition)),
            *(ctypes.c_int(_MSGFLAGS), ctypes.c_int(_COPY | _BLOCK)),
            *(ctypes.c_int(_KEY), key, ctypes.c_size_t(len(key or b""))),
            *(ctypes.c_int(_VALUE), value, ctypes.c_size_t(len(value or b""))),
            *(ctypes.c_int(_HEADERS), added),
            ctypes.c_int(_END),
        )
        assert code == 0, code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        left = self._lib.rd_kafka_flush(self._client, ctypes.c_int(30_000))
        self._lib.rd_kafka_destroy(self._client)
        assert left == 0, f"{left} records were not acknowledged"
