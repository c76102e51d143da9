"""Hints for errors of size: which limit was met, and which setting raises it.

Three limits may refuse an event for its size, and each is set in another place:

1. `Limits` of a producer, an outbox or a consumer: bytes of the value, before compression.
2. The client's ``message.max.bytes``: bytes of the whole record, before compression.
3. The topic's ``max.message.bytes``, or the broker's ``message.max.bytes`` if the topic has none: bytes of the batch,
   after compression.
"""

from __future__ import annotations

__all__ = ["TOO_LARGE", "raising", "size_hint"]

# What clients and brokers call a record or a batch that is too large.
TOO_LARGE = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE", "_QUEUE_FULL"})


def raising(name: str) -> str:
    """The way to raise one of a consumer's `Limits`, for an error."""
    return f"@kafka_consumer(limits=Limits({name}=…)) raises it"


def size_hint(reason: str, *, local: bool) -> str | None:
    """The limit that a client or a broker has refused a record for, and the setting that raises it; None for no size.

    Args:
        reason: The client's name of the error.
        local: Whether the client has refused the record by itself.
    """
    if reason not in TOO_LARGE:
        return None
    otherwise = "or send a reference in place of the content"
    if reason == "_QUEUE_FULL":
        return f"raise KafkaSettings(librdkafka={{'queue.buffering.max.kbytes': …}}), {otherwise}"
    if local:
        return (
            f"that is the client's own limit: raise KafkaSettings(librdkafka={{'message.max.bytes': …}}), {otherwise}"
        )
    if reason == "RECORD_LIST_TOO_LARGE":
        return f"that is the topic's segment.bytes: raise it, {otherwise}"
    return f"raise max.message.bytes of the topic, which counts the record after compression, {otherwise}"
