"""Sizes that do not go together: what topics take, what producers send there, and what consumers read from there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from eventzr_kafka.cli.declared import Declared
from eventzr_kafka.kafka.topics import TopicSpec, TopicState
from eventzr_kafka.settings import KafkaSettings

__all__ = ["limits_of", "too_large_for_readers", "too_small_for_batches"]

_SIZE = "max.message.bytes"
_KAFKA_SIZE = 1_048_588  # of a topic that says nothing; a consumer's default limits go with it


def limits_of(states: Mapping[str, TopicState], specs: Collection[TopicSpec] = ()) -> dict[str, int]:
    """Bytes of a batch that topics take, so far as they are known.

    Args:
        states: The topics as they are.
        specs: The topics as they are to be, which comes first.
    """
    configs = {name: dict(state.configs) for name, state in states.items()}
    for spec in specs:
        configs.setdefault(spec.name, {}).update(spec.configs)
    return {name: int(found[_SIZE]) for name, found in configs.items() if found.get(_SIZE, "").isdigit()}


def too_small_for_batches(
    settings: KafkaSettings, written: Collection[str], limits: Mapping[str, int]
) -> Iterator[str]:
    """Topics that take less than a producer may send at a time, one line each, with its hint.

    Args:
        written: Topics that are written to.
        limits: From `limits_of`.
    """
    for topic in sorted(limits.keys() & {*written}):
        if limits[topic] < settings.batch_bytes:
            yield (
                f"{topic} takes {limits[topic]:,} bytes at a time ({_SIZE}), and producers send up to "
                f"{settings.batch_bytes:,}: set KAFKA_BATCH_BYTES to less than that for each service that writes there"
            )


def too_large_for_readers(found: Declared, limits: Mapping[str, int]) -> Iterator[str]:
    """Topics that take more than Kafka does by default, and more than their consumers; one line each, with its hint."""
    for consumer in found.consumers:
        most = consumer.options.limits.max_bytes
        for topic in sorted(limits.keys() & {route.topic for route in consumer.routes}):
            if limits[topic] > max(most, _KAFKA_SIZE):
                yield (
                    f"{topic} takes {limits[topic]:,} bytes ({_SIZE}), and the consumer of {consumer.group_id} "
                    f"refuses values above {most:,}: @kafka_consumer(limits=Limits(max_bytes=…)) raises it"
                )
