"""Sizes that do not fit together: the limits of topics, of the producers that write to them, and of their readers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from eventzr_kafka.cli.targets import Targets
from eventzr_kafka.kafka.topics import TopicSpec, TopicState
from eventzr_kafka.settings import KafkaSettings

__all__ = ["limits_of", "too_large_for_readers", "too_small_for_batches"]

_SIZE = "max.message.bytes"
_KAFKA_SIZE = 1_048_588  # of a topic without this config; a consumer's default limit fits it


def limits_of(states: Mapping[str, TopicState], specs: Collection[TopicSpec] = ()) -> dict[str, int]:
    """The largest batch of each topic in bytes, where it is known.

    Args:
        states: The topics as they are.
        specs: The topics as they will be; they override `states`.
    """
    configs = {name: dict(state.configs) for name, state in states.items()}
    for spec in specs:
        configs.setdefault(spec.name, {}).update(spec.configs)
    return {name: int(found[_SIZE]) for name, found in configs.items() if found.get(_SIZE, "").isdigit()}


def too_small_for_batches(
    settings: KafkaSettings, written: Collection[str], limits: Mapping[str, int]
) -> Iterator[str]:
    """Topics whose limit is below the largest batch of a producer, one line each, with a hint.

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


def too_large_for_readers(found: Targets, limits: Mapping[str, int]) -> Iterator[str]:
    """Topics whose limit is above Kafka's default and above that of their consumers, one line each, with a hint."""
    for consumer in found.consumers:
        most = consumer.options.limits.max_bytes
        for topic in sorted(limits.keys() & {route.topic for route in consumer.routes}):
            if limits[topic] > max(most, _KAFKA_SIZE):
                yield (
                    f"{topic} takes {limits[topic]:,} bytes ({_SIZE}), and the consumer of {consumer.group_id} "
                    f"refuses values above {most:,}: @kafka_consumer(limits=Limits(max_bytes=…)) raises it"
                )
