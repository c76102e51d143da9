"""A `TopicAdmin` on librdkafka."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, admin

from eventzr_kafka._confluent.config import admin_config
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.outage import describe_kafka_error, refused_login
from eventzr_kafka.admin import TopicAccess
from eventzr_kafka.errors import AdminError
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.topics import CONFIGS, Change, ConfigureTopic, CreateTopic, GrowTopic, TopicState

__all__ = ["ConfluentAdmin"]

_kafka: Any = admin  # the client's types say nothing of most of it
ResultT = TypeVar("ResultT")
_LATE = 5.0  # seconds beyond its time-out that the client may take to say so
_OWN = "__"  # begins the names of Kafka's own topics
_FAULTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "does not exist",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "may not be described by this login",
}


class ConfluentAdmin:
    """The client is made with the first question, and a question that fails says what is behind it."""

    def __init__(self, settings: KafkaSettings, *, timeout: float = 10.0) -> None:
        """Take the configuration; nothing connects yet.

        Args:
            timeout: Seconds that a question may take.
        """
        self._config = admin_config(settings)
        self._brokers = settings.brokers
        self._timeout = timeout
        self._trouble = _Trouble()
        self._client: Any = None

    def brokers(self) -> list[str]:
        """Addresses of the brokers, as the cluster itself names them."""
        found = self._ask(lambda client: client.list_topics(timeout=self._timeout)).brokers
        return sorted(f"{broker.host}:{broker.port}" for broker in found.values())

    def topics(self) -> Mapping[str, TopicState]:
        """Every topic but Kafka's own, with its partitions and configs."""
        described = self._ask(lambda client: client.list_topics(timeout=self._timeout)).topics
        names = [name for name in described if not name.startswith(_OWN)]
        configs = self._configs(names)
        return {name: TopicState(name, len(described[name].partitions), configs[name]) for name in names}

    def access(self, names: Collection[str]) -> Mapping[str, TopicAccess]:
        """What this login may do with these topics."""
        if not names:
            return {}
        asked: Mapping[str, Future[Any]] = self._ask(
            lambda client: client.describe_topics(
                TopicCollection(list(names)), include_authorized_operations=True, request_timeout=self._timeout
            )
        )
        return {name: self._access(future) for name, future in asked.items()}

    def apply(self, change: Change) -> None:
        """Take one step of a plan and wait until the broker has done it."""
        for future in self._ask(lambda client: _begin(client, change, self._timeout)):
            self._result(future)

    def _access(self, future: Future[Any]) -> TopicAccess:
        error = future.exception(self._timeout + _LATE)
        if isinstance(error, KafkaException) and error.args[0].code() in _FAULTS:
            return TopicAccess(_FAULTS[error.args[0].code()], None)
        operations = self._result(future).authorized_operations
        return TopicAccess(None, frozenset(one.name for one in operations) if operations else None)

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [_kafka.ConfigResource(_kafka.ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        asked = self._ask(lambda client: client.describe_configs(resources, request_timeout=self._timeout))
        return {resource.name: _managed(self._result(future)) for resource, future in asked.items()}

    def _ask(self, question: Callable[[Any], ResultT]) -> ResultT:
        self._trouble.error = None
        if self._client is None:
            self._client = make_client(_kafka.AdminClient, {**self._config, "error_cb": self._trouble})
        try:
            return question(self._client)
        except KafkaException as error:
            raise self._explained(error) from error

    def _result(self, future: Future[ResultT]) -> ResultT:
        try:
            return future.result(self._timeout + _LATE)
        except KafkaException as error:
            raise self._explained(error) from error

    def _explained(self, error: KafkaException) -> Exception:
        fault: KafkaError = error.args[0]
        if self._client is not None and self._trouble.error is None:
            self._client.poll(0.1)  # brings the reason, where it has not come yet
        trouble = self._trouble.error
        if trouble is not None and trouble.code() == KafkaError._AUTHENTICATION:
            return refused_login(trouble, token_callback(self._config))
        behind = f" ({describe_kafka_error(trouble)})" if trouble is not None else ""
        return AdminError(f"{self._brokers}: {describe_kafka_error(fault)}{behind}")


class _Trouble:
    """What the client said last; apart from the admin, so that the client ends with its last reference."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if self.error is None or error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.error = error


def _begin(client: Any, change: Change, timeout: float) -> list[Future[Any]]:
    match change:
        case CreateTopic(spec):
            new = _kafka.NewTopic(spec.name, num_partitions=spec.partitions, config=dict(spec.configs))
            return list(client.create_topics([new], request_timeout=timeout).values())
        case GrowTopic(topic, _, wanted):
            return list(
                client.create_partitions([_kafka.NewPartitions(topic, wanted)], request_timeout=timeout).values()
            )
        case ConfigureTopic(topic, name, _, wanted):
            entry = _kafka.ConfigEntry(name, wanted, incremental_operation=_kafka.AlterConfigOpType.SET)
            resource = _kafka.ConfigResource(_kafka.ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
            return list(client.incremental_alter_configs([resource], request_timeout=timeout).values())


def _managed(entries: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items() if name in CONFIGS}
