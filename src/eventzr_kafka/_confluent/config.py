"""Configuration of librdkafka, made from `KafkaSettings`.

`KafkaSettings.librdkafka` overrides every property but those that the SDK's guarantees rest on.
"""

from __future__ import annotations

import logging
from typing import Any

from eventzr_kafka._confluent.oauth import TokenCallback
from eventzr_kafka._confluent.real_threads import require_real_threads
from eventzr_kafka.errors import SettingsError
from eventzr_kafka.handlers.options import GroupProtocol
from eventzr_kafka.settings import KafkaSettings

__all__ = ["COMMIT_INTERVAL_MS", "admin_config", "consumer_config", "producer_config"]

COMMIT_INTERVAL_MS = 1000

_CONSUMER = {
    "enable.auto.commit": True,  # commits what is stored, on its interval, on revoke and on close
    "enable.auto.offset.store": False,  # stored by the ledger, never by being read
    "auto.commit.interval.ms": COMMIT_INTERVAL_MS,
    "auto.offset.reset": "error",  # the owner starts new groups at the beginning, and reports offsets that are gone
    "allow.auto.create.topics": False,
    "enable.partition.eof": False,
}
_GROUP_PROTOCOLS: dict[GroupProtocol, dict[str, Any]] = {
    "classic": {"group.protocol": "classic", "partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},  # the broker assigns, and knows the time-outs
}
_CONSUMER_DEFAULTS = {
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 10,  # the default of 1,000 stalls a fast consumer each time the queue was full
    "topic.metadata.refresh.interval.ms": 10_000,  # of its own topics: until a new topic or partition is found
    "statistics.interval.ms": 1000,  # shows when a lost broker is back
}
_PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # the same partition as the Java and JavaScript clients for the same key
}
_PRODUCER_DEFAULTS = {
    "allow.auto.create.topics": False,
    "topic.metadata.propagation.max.ms": 5_000,  # how long a missing topic may be one that is just being made
    "linger.ms": 0,  # one event need not wait for others; under load the client batches what queues up anyway
    "message.max.bytes": 8 * 1024 * 1024,  # the topic decides, the client does not; 8 MiB is what MSK Serverless takes
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 120_000,
}
_client_log = logging.getLogger("eventzr_kafka.client")


class _ClientLogger:
    """Passes librdkafka's own log lines on as debug lines; the SDK reports errors and outages itself."""

    def log(self, _level: int, message: str, *args: object) -> None:
        _client_log.debug(message, *args)


def consumer_config(settings: KafkaSettings, group_id: str, group_protocol: GroupProtocol) -> dict[str, Any]:
    """Configuration of a member of a group.

    Raises:
        SettingsError: ``settings.librdkafka`` overrides a property that a guarantee rests on.
        MissingExtraError: The login needs an extra.
    """
    fixed = {**_CONSUMER, **_GROUP_PROTOCOLS[group_protocol], "group.id": group_id}
    return _merge(settings, _CONSUMER_DEFAULTS, fixed)


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    """Configuration of a producer.

    Raises:
        SettingsError: ``settings.librdkafka`` overrides a property that a guarantee rests on.
        MissingExtraError: The login needs an extra.
    """
    if "batch.size" in settings.librdkafka:
        problem = "'batch.size' has a setting of its own: batch_bytes, or KAFKA_BATCH_BYTES"
        raise SettingsError("KafkaSettings.librdkafka", problem)
    return _merge(settings, _PRODUCER_DEFAULTS, {**_PRODUCER, "batch.size": settings.batch_bytes})


def admin_config(settings: KafkaSettings) -> dict[str, Any]:
    """Configuration of an admin client."""
    return _merge(settings, {}, {})


def _merge(settings: KafkaSettings, defaults: dict[str, Any], fixed: dict[str, Any]) -> dict[str, Any]:
    require_real_threads()  # every client's configuration is made here
    connection = _connection(settings)
    refused = sorted(settings.librdkafka.keys() & (fixed.keys() | connection.keys()))
    if refused:
        problem = f"{refused[0]!r} is set by the SDK and cannot be overridden; remove it"
        raise SettingsError("KafkaSettings.librdkafka", problem)
    return {**defaults, **settings.librdkafka, **connection, **fixed, "logger": _ClientLogger()}


def _connection(settings: KafkaSettings) -> dict[str, Any]:
    sasl = settings.effective_auth != "none"
    config: dict[str, Any] = {
        "bootstrap.servers": settings.brokers,
        "client.id": settings.client_id,
        "security.protocol": ("SASL_" if sasl else "") + ("SSL" if settings.uses_tls else "PLAINTEXT"),
        **_login(settings),
    }
    if settings.ca_file is not None:
        config["ssl.ca.location"] = settings.ca_file
    return config


def _login(settings: KafkaSettings) -> dict[str, Any]:
    if settings.effective_auth == "none":
        return {}
    if settings.effective_auth == "iam":
        from eventzr_kafka.msk.token import iam_token_provider  # noqa: PLC0415 -- one login of several

        return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": TokenCallback(iam_token_provider(settings))}
    mechanism = {"plain": "PLAIN", "scram": "SCRAM-SHA-512"}[settings.effective_auth]
    return {"sasl.mechanism": mechanism, "sasl.username": settings.username, "sasl.password": settings.password}
