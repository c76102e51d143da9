"""Events as AWS documents them, and the context of an invocation."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from eventzr_kafka import CloudEvent, Record, encode

TOPIC = "bench.thing.happened.v1"

# The example of the AWS Lambda Developer Guide, "Example event" of Amazon MSK.
DOCUMENTED: dict[str, Any] = {
    "eventSource": "aws:kafka",
    "eventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/vpc-2priv-2pub/751d2973-a626-431c",
    "bootstrapServers": "b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092",
    "records": {
        "mytopic-0": [
            {
                "topic": "mytopic",
                "partition": 0,
                "offset": 15,
                "timestamp": 1545084650987,
                "timestampType": "CREATE_TIME",
                "key": "abcDEFghiJKLmnoPQRstuVWXyz1234==",
                "value": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                "headers": [{"headerKey": [104, 101, 97, 100, 101, 114, 86, 97, 108, 117, 101]}],
            }
        ]
    },
}


class Context:
    """The context of an invocation that has so many milliseconds; a list gives one answer after another."""

    def __init__(self, *milliseconds: int) -> None:
        self._answers = list(milliseconds or (60_000,))

    def get_remaining_time_in_millis(self) -> int:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def record(
    offset: int, tenant: str = "t1", *, partition: int = 0, data: object = None, topic: str = TOPIC, mode: Any = None
) -> Record:
    event = CloudEvent(id=f"e{offset}", source="s", type=topic, tenantid=tenant, data=data or {"n": offset})
    out = encode(event, mode or "structured")
    return Record(topic, partition, offset, out.key, out.value, out.headers, 1545084650987)


def lambda_record(record: Record) -> dict[str, Any]:
    """A record as AWS writes it: a missing key is left out, a tombstone's value is null."""
    found: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "timestampType": "CREATE_TIME",
        "value": None if record.value is None else base64.b64encode(record.value).decode(),
        "headers": [{name: signed(value or b"")} for name, value in record.headers],
    }
    if record.key is not None:
        found["key"] = base64.b64encode(record.key).decode()
    return found


def signed(value: bytes) -> list[int]:
    """Bytes as Java has them."""
    return [byte - 256 if byte > 127 else byte for byte in value]


def lambda_event(records: Iterable[Record], source: str = "aws:kafka") -> dict[str, Any]:
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for each in records:
        by_partition.setdefault(f"{each.topic}-{each.partition}", []).append(lambda_record(each))
    return {**DOCUMENTED, "eventSource": source, "records": by_partition}


def again(response: Any, partition: str = f"{TOPIC}-0") -> list[int]:
    """The offsets of a partition that a response reports."""
    items: Sequence[Any] = [failure["itemIdentifier"] for failure in response["batchItemFailures"]]
    return [item["offset"] for item in items if item["partition"] == partition]
